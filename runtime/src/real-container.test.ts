/** What a container is made of, as the kernel shows it from inside: as root, one real container a test. */
import t from 'tap';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Bundle, whyNotReal } from './testing/scenario.ts';

const skip = whyNotReal() ?? false;

function bundle(t: { teardown(done: () => void): void }): Bundle {
  const made = new Bundle();
  t.teardown(() => made.remove());
  return made;
}

t.test('a container is pid 1 of its own namespaces, with its own hostname and only a loopback', { skip }, (t) => {
  const { result, status, output } = bundle(t).runOnce([
    'sh',
    '-c',
    'echo $$; hostname; cat /sys/class/net/lo/flags; ls /sys/class/net; cat /proc/self/loginuid >/dev/null; echo $HOME',
  ]);
  t.same(result.leaks, []);
  t.equal(status, 0, output);
  t.same(output.trim().split('\n'), ['1', 'box', '0x9', 'lo', '/root']);
  t.end();
});

t.test('the exit status of init is its program’s', { skip }, (t) => {
  const b = bundle(t);
  t.equal(b.runOnce(['sh', '-c', 'exit 42']).status, 42);
  t.equal(b.runOnce(['sh', '-c', 'kill -9 $$; sleep 1; exit 3']).status, 3, 'pid 1 cannot kill itself');
  t.end();
});

t.test('a process of a container has exactly the descriptors 0, 1 and 2', { skip }, (t) => {
  const { output } = bundle(t).runOnce(['sh', '-c', 'ls /proc/1/fd; true']);
  t.same(output.trim().split('\n'), ['0', '1', '2']);
  t.end();
});

t.test('masked paths are empty and read-only paths cannot be written', { skip }, (t) => {
  const { output } = bundle(t).runOnce([
    'sh',
    '-c',
    'cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo 1 2>&1 >/proc/sys/kernel/pid_max; touch /sys/x; touch /x && echo written',
  ]);
  const [keys, firmware, ...rest] = output.trim().split('\n');
  t.same([keys, firmware], ['0', '0']);
  t.match(rest.join('\n'), /pid_max: Read-only file system[^]*\/sys\/x: Read-only file system\nwritten/);
  t.end();
});

t.test('a read-only root file system cannot be written, its tmpfs mounts can', { skip }, (t) => {
  const { output } = bundle(t).runOnce(
    ['sh', '-c', 'touch /x; touch /run/y && echo run; mount | grep " / "'],
    (spec) => {
      spec.root.readonly = true;
    },
  );
  t.match(output, /\/x: Read-only file system\nrun\n.* \/ type .*\(ro/);
  t.end();
});

t.test('uid, gid, groups and umask are the configured ones, and a plain user has no capabilities', { skip }, (t) => {
  const { output } = bundle(t).runOnce(
    [
      'sh',
      '-c',
      'grep -E "^(Uid|Gid|Groups|Umask|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):" /proc/self/status; pwd; echo $HOME',
    ],
    (spec) => {
      spec.process.user = { uid: 1000, gid: 1001, additionalGids: [7, 8], umask: 0o027 };
      spec.process.cwd = '/made/here';
      spec.process.capabilities = { bounding: ['CAP_CHOWN'], permitted: [], effective: [], inheritable: [] };
    },
  );
  t.same(
    output
      .replaceAll(/[\t ]+/g, ' ')
      .trim()
      .split('\n'),
    [
      'Umask: 0027',
      'Uid: 1000 1000 1000 1000',
      'Gid: 1001 1001 1001 1001',
      'Groups: 7 8 ',
      'CapInh: 0000000000000000',
      'CapPrm: 0000000000000000',
      'CapEff: 0000000000000000',
      'CapBnd: 0000000000000001',
      'CapAmb: 0000000000000000',
      'NoNewPrivs: 1',
      '/made/here',
      '/home/user',
    ]
      .map((line) => line.trimEnd())
      .map((line, i) => (i === 3 ? 'Groups: 7 8 ' : line)),
  );
  t.end();
});

t.test('ambient capabilities reach a plain user’s program', { skip }, (t) => {
  const names = ['CAP_NET_BIND_SERVICE', 'CAP_KILL'];
  const { output } = bundle(t).runOnce(['sh', '-c', 'grep Cap /proc/self/status'], (spec) => {
    spec.process.user = { uid: 1000, gid: 1000 };
    spec.process.capabilities = {
      bounding: names,
      permitted: names,
      effective: names,
      inheritable: names,
      ambient: names,
    };
  });
  t.same([...new Set([...output.matchAll(/[0-9a-f]{16}/g)].map(String))], ['0000000000000420']);
  t.end();
});

t.test('limits are set, and one that may not be raised is refused in runc’s words', { skip }, (t) => {
  const b = bundle(t);
  const { output } = b.runOnce(['sh', '-c', 'ulimit -n; ulimit -v; ulimit -c'], (spec) => {
    spec.process.rlimits = [
      { type: 'RLIMIT_NOFILE', soft: 500, hard: 1000 },
      { type: 'RLIMIT_AS', soft: 1_048_576_000, hard: 1_048_576_000 },
      { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
    ];
  });
  t.same(output.trim().split('\n'), ['500', '1024000', '0']);
  const hard = Number(/Max open files\s+\d+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
  const spec = b.spec(['true'], (spec) => {
    spec.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: hard + 1, hard: hard + 1 }];
  });
  // With CAP_SYS_RESOURCE it may be raised: there is a container then.
  const refused = b.run({ spec, steps: [{ do: 'start' }, { do: 'wait' }, { do: 'destroy' }] });
  t.same(refused.leaks, []);
  if (refused.error !== undefined) {
    t.match(
      refused.error.message,
      /error setting rlimits for ready process: error setting rlimit type 7: operation not permitted/i,
    );
  }
  t.end();
});

t.test('bind mounts bring the host’s files in, read-only when asked, and take nothing out', { skip }, (t) => {
  const b = bundle(t);
  mkdirSync(join(b.dir, 'volume'));
  writeFileSync(join(b.dir, 'volume/file'), 'from the host');
  writeFileSync(join(b.dir, 'single'), 'one file');
  const { output, result } = b.runOnce(
    ['sh', '-c', 'cat /data/deep/file /etc/single; touch /data/deep/x; mount | grep deep'],
    (spec) => {
      spec.mounts.push(
        { destination: '/data/deep', type: 'bind', source: join(b.dir, 'volume'), options: ['rbind', 'ro', 'nosuid'] },
        { destination: '/etc/single', source: 'single', options: ['bind'] },
      );
    },
  );
  t.same(result.leaks, []);
  t.match(output, /^from the hostone filetouch: \/data\/deep\/x: Read-only file system\n/);
  t.match(output, /\/data\/deep type \S+ \(ro,nosuid/);
  t.end();
});

t.test(
  'an overlay snapshot is assembled inside the container: written above, lower layers untouched',
  { skip },
  (t) => {
    const b = bundle(t);
    for (const name of ['upper', 'work', 'lower2']) mkdirSync(join(b.dir, name));
    writeFileSync(join(b.dir, 'lower2/second'), 'second layer');
    const options = [
      `lowerdir=${join(b.dir, 'lower2')}:${b.rootfs}`,
      `upperdir=${join(b.dir, 'upper')}`,
      `workdir=${join(b.dir, 'work')}`,
      'index=off',
    ];
    const result = b.run({
      spec: b.spec(['sh', '-c', 'cat /second; echo new >/written; mount | grep " / "']),
      rootfs: [{ type: 'overlay', source: 'overlay', options }],
      steps: [{ do: 'start' }, { do: 'wait' }, { do: 'destroy' }],
    });
    t.same(result.leaks, []);
    t.match(result.output, /second layer.* \/ type overlay/s);
    t.equal(readFileSync(join(b.dir, 'upper/written'), 'utf8'), 'new\n');
    t.end();
  },
);

t.test('more lower layers than one option text can hold are mounted all the same', { skip }, (t) => {
  const b = bundle(t);
  const layers: string[] = [];
  for (let n = 0; n < 12; n++) {
    const layer = join(b.dir, `a-layer-with-a-long-name-${n}`);
    mkdirSync(layer);
    writeFileSync(join(layer, `file-${n}`), String(n));
    layers.push(layer);
  }
  for (const name of ['upper', 'work']) mkdirSync(join(b.dir, name));
  const options = [
    `lowerdir=${[...layers, b.rootfs].join(':')}`,
    `upperdir=${join(b.dir, 'upper')}`,
    `workdir=${join(b.dir, 'work')}`,
  ];
  const result = b.run({
    spec: b.spec(['sh', '-c', 'cat /file-*']),
    rootfs: [{ type: 'overlay', source: 'overlay', options }],
    steps: [{ do: 'start' }, { do: 'wait' }, { do: 'destroy' }],
  });
  t.equal(result.output, '01101123456789', JSON.stringify(result));
  t.end();
});

t.test('sysctls, clocks, domain name and kernel personality are the container’s own', { skip }, (t) => {
  const { output, status, result } = bundle(t).runOnce(
    [
      'sh',
      '-c',
      'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/kernel/domainname; head -c 7 /proc/uptime; echo; uname -m',
    ],
    (spec) => {
      spec.domainname = 'example.test';
      spec.linux.sysctl = { 'net.ipv4.ip_forward': '1', 'kernel.msgmax': '4096' };
      spec.linux.namespaces?.push({ type: 'time' });
      spec.linux.timeOffsets = { boottime: { secs: 8_000_000 } };
      spec.linux.personality = { domain: 'LINUX32' };
    },
  );
  t.same(result.leaks, []);
  t.equal(status, 0, output + JSON.stringify(result));
  const [forward, msgmax, domain, uptime = '', machine = ''] = output.trim().split('\n');
  t.same([forward, msgmax, domain], ['1', '4096', 'example.test']);
  t.ok(Number(uptime) >= 8_000_000, uptime);
  t.ok(process.arch !== 'x64' || machine === 'i686', machine);
  t.end();
});

t.test(
  'a recursive read-only bind mount covers what is mounted below it; a read-only /dev holds its devices',
  { skip },
  (t) => {
    const b = bundle(t);
    mkdirSync(join(b.dir, 'volume'));
    const { output, result } = b.runOnce(
      ['sh', '-c', 'touch /host/dev/shm/x; touch /dev/x; cat /dev/null; ls /dev/zero; mount | grep " /dev "'],
      (spec) => {
        spec.mounts.push({ destination: '/host', type: 'bind', source: '/', options: ['rbind', 'rro'] });
        spec.mounts = spec.mounts.map((m) =>
          m.destination === '/dev' ? { ...m, options: [...(m.options ?? []), 'ro'] } : m,
        );
      },
    );
    t.match(
      output,
      /\/host\/dev\/shm\/x: Read-only file system\n.*\/dev\/x: Read-only file system\n\/dev\/zero\n.*\(ro/,
      output,
    );
    t.same(result.leaks, []);
    t.end();
  },
);

t.test('seccomp denies what the profile denies, with and without new privileges', { skip }, (t) => {
  for (const noNewPrivileges of [true, false]) {
    const { output, status, result } = bundle(t).runOnce(
      ['sh', '-c', 'grep Seccomp: /proc/self/status; mkdir /tmp/d'],
      (spec) => {
        spec.process.noNewPrivileges = noNewPrivileges;
        spec.linux.seccomp = {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 }],
        };
      },
    );
    t.equal(status, 1, JSON.stringify(result));
    t.match(output, /Seccomp:\t2\nmkdir: .*Function not implemented/);
  }
  t.end();
});

t.test('a cgroup mount shows the container’s own groups, read-only', { skip }, (t) => {
  const b = bundle(t);
  const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
  for (const ownNamespace of [false, true]) {
    // v2 without a namespace of its own: the whole tree, as runc shows it.
    const below = unified ? (ownNamespace ? '' : b.cgroup) : '/memory';
    const { output, status, result } = b.runOnce(
      [
        'sh',
        '-c',
        `head -n 1 /proc/self/cgroup; head -n 1 /sys/fs/cgroup${below}/cgroup.procs; mkdir /sys/fs/cgroup${below}/x`,
      ],
      (spec) => {
        spec.mounts.push({
          destination: '/sys/fs/cgroup',
          type: 'cgroup',
          source: 'cgroup',
          options: ['nosuid', 'noexec', 'nodev', 'ro'],
        });
        if (ownNamespace) spec.linux.namespaces?.push({ type: 'cgroup' });
      },
    );
    t.same(result.leaks, []);
    t.equal(status, 1, JSON.stringify(result));
    const [group = '', first, error] = output.trim().split('\n');
    t.ok(group.endsWith(ownNamespace ? ':/' : b.cgroup), group);
    t.equal(first, '1');
    t.match(error, /Read-only file system/);
  }
  t.end();
});

t.test('what a container sees is what it sees under runc', { skip }, (t) => {
  const b = bundle(t);
  const script = [
    "sed -n '/^Name/p;/^Umask/p;/^Uid/p;/^Gid/p;/^Groups/p;/^Sig[BIC]/p;/^Cap/p;/^NoNew/p;/^Seccomp:/p;/^Threads/p' /proc/self/status",
    'cat /proc/self/limits',
    'cat /proc/self/mountinfo | while read a b c d e f rest; do echo $d $e $f ${rest#*- }; done',
    'ls -l /dev | while read a b c d e f; do echo $a $b $c $d; done',
    'cat /proc/self/oom_score_adj; pwd; env; ls /proc/self/ns; hostname',
  ].join('\n');
  for (const applet of ['sed'])
    writeFileSync(join(b.rootfs, 'bin', applet), '#!/bin/busybox sh\nexec busybox sed "$@"\n', { mode: 0o755 });
  const spec = b.spec(['sh', '-c', script], (spec) => {
    spec.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }];
    spec.process.user = { uid: 0, gid: 0, additionalGids: [10, 20] };
  });
  const theirs = b.runByRunc(spec);
  if (theirs === undefined) {
    t.comment('runc is not installed');
    t.end();
    return;
  }
  const { output } = b.runOnce(spec.process?.args ?? [], (mine) => Object.assign(mine, spec));
  t.same(comparable(output), comparable(theirs.output));
  t.end();
});

/** Without the order of mounts, which is ours to choose, and device numbers of anonymous file systems. */
function comparable(text: string): string[] {
  return (
    text
      .trim()
      .split('\n')
      .map((line) => line.replace(/\s+/g, ' ').trim())
      // What runc was started with ignored stays ignored in its container; ours starts with every signal at its default.
      .filter((line) => !line.startsWith('SigIgn:'))
      .toSorted()
  );
}
