/** What the runtime specification offers beyond the usual: each carried out for real, and compared where a peer can. */
import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { checkout, missing, RuntimeBench, until } from '../index.ts';

const skip = missing('runc') ?? false;

t.setTimeout(240_000);

t.test('tmpcopyup: a tmpfs begins with what it covers', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const dir = path.join(bench.rootfs, 'var');
  mkdirSync(path.join(dir, 'deep/er'), { recursive: true });
  writeFileSync(path.join(dir, 'file'), 'content\n');
  writeFileSync(path.join(dir, 'deep/er/program'), 'x'.repeat(200_000));
  chmodSync(path.join(dir, 'deep/er/program'), 0o4751);
  chownSync(path.join(dir, 'deep'), 1000, 2000);
  symlinkSync('../../etc/passwd', path.join(dir, 'link'));
  chmodSync(dir, 0o1770);
  const look =
    'cd /var && find . | sort | while read f; do stat -c "%n %f %u %g %t %T" $f; done; readlink link; wc -c deep/er/program; echo new > file; grep -c " /var " /proc/self/mountinfo';
  bench.configure(
    bench.spec(['sh', '-c', look], (spec) =>
      spec.mounts.push({ destination: '/var', type: 'tmpfs', source: 'tmpfs', options: ['rw', 'tmpcopyup'] }),
    ),
  );
  const [runc, ours] = (['runc', 'gantry'] as const).map((name) => bench.call(name, ['run', 'up']));
  t.equal(ours?.code, 0, ours?.stderr ?? '');
  t.equal(ours?.stdout, runc?.stdout, runc?.stderr ?? '');
  // Runc cannot copy these.
  spawnSync('mkfifo', [path.join(dir, 'fifo')]);
  spawnSync('mknod', [path.join(dir, 'node'), 'c', '1', '3']);
  t.match(bench.call('gantry', ['run', 'up']).stdout, /^\.\/fifo 11a4 .*^\.\/node 21a4 0 0 1 3$/ms);
  t.match(ours?.stdout, /\.\/deep\/er\/program 89e9/);
  t.equal(readFileSync(path.join(dir, 'file'), 'utf8'), 'content\n', 'what is covered stays');
  t.end();
});

t.test('id-mapped mounts: files have other owners in the container', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const dir = path.join(bench.dir, 'volume');
  mkdirSync(path.join(dir, 'sub'), { recursive: true });
  writeFileSync(path.join(dir, 'zero'), '');
  writeFileSync(path.join(dir, 'thousand'), '');
  chownSync(path.join(dir, 'thousand'), 1000, 1000);
  const mapping = { containerID: 0, hostID: 5000, size: 2000 };
  const look = [
    'sh',
    '-c',
    'stat -c "%n %u %g" /mnt/zero /mnt/thousand; touch /mnt/sub/made; stat -c "%u" /mnt/sub/made',
  ];
  for (const options of [['rbind', 'idmap'], ['rbind', 'ridmap'], ['bind']]) {
    bench.configure(
      bench.spec(look, (spec) => {
        spec.process.user = { uid: 5000, gid: 5000 };
        const maps = { uidMappings: [mapping], gidMappings: [mapping] };
        spec.mounts.push({ destination: '/mnt', type: 'bind', source: dir, options, ...maps });
      }),
    );
    const { code, stdout, stderr } = bench.call('gantry', ['run', 'mapped']);
    t.same([code, stdout], [0, '/mnt/zero 5000 5000\n/mnt/thousand 6000 6000\n5000\n'], stderr);
    t.equal(spawnSync('stat', ['-c', '%u', path.join(dir, 'sub/made')], { encoding: 'utf8' }).stdout, '0\n');
    spawnSync('rm', [path.join(dir, 'sub/made')]);
  }
  const refused = (change: Parameters<RuntimeBench['spec']>[1], message: RegExp) => {
    bench.configure(bench.spec(look, change));
    const { code, stderr } = bench.call('gantry', ['run', 'mapped']);
    t.equal(code, 1);
    t.match(stderr, message);
  };
  refused(
    (spec) =>
      spec.mounts.push({
        destination: '/mnt',
        type: 'tmpfs',
        source: 'tmpfs',
        uidMappings: [mapping],
        gidMappings: [mapping],
      }),
    /id-mapped mounts are only supported for bind-mounts/,
  );
  refused(
    (spec) => spec.mounts.push({ destination: '/mnt', source: dir, options: ['bind'], uidMappings: [mapping] }),
    /must have both uid and gid mappings specified/,
  );
  refused(
    (spec) => spec.mounts.push({ destination: '/mnt', source: dir, options: ['bind', 'idmap'] }),
    /must have both/,
  );
  t.end();
});

t.test('recursive attributes reach the mounts below', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => {
    spawnSync('umount', [path.join(bench.dir, 'volume/sub')]);
    bench.remove();
  });
  const dir = path.join(bench.dir, 'volume');
  mkdirSync(path.join(dir, 'sub'), { recursive: true });
  spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', path.join(dir, 'sub')]);
  const look = [
    'sh',
    '-c',
    'grep " /mnt" /proc/self/mountinfo | cut -d" " -f5,6; touch /mnt/sub/x 2>&1; touch /mnt/x 2>&1; rm -f /mnt/x /mnt/sub/x',
  ];
  for (const option of [
    'ro',
    'rro',
    'rnosuid',
    'rnoexec',
    'rnodev',
    'rnoatime',
    'rnodiratime',
    'rstrictatime',
    'rnosymfollow',
  ]) {
    bench.configure(
      bench.spec(look, (spec) =>
        spec.mounts.push({ destination: '/mnt', type: 'bind', source: dir, options: ['rbind', option] }),
      ),
    );
    const [runc, ours] = (['runc', 'gantry'] as const).map((name) => bench.call(name, ['run', 'rec']).stdout);
    // The flags of another tmpfs are those of the kernel that shows them; runc 1.1 does not know this one yet.
    if (option === 'rnosymfollow') t.match(ours, /\/mnt\/sub \S*nosymfollow/);
    else t.equal(ours, runc, option);
  }
  t.end();
});

t.test('a seccomp agent answers for the container and for what is executed in it', { skip }, async (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const socket = path.join(bench.dir, 'agent.sock');
  bench.configure(
    bench.spec(['sh', '-c', 'mkdir /tmp/a 2>&1; echo after; sleep 0.1; exit 4'], (spec) => {
      spec.linux.seccomp = {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_AARCH64'].filter((arch) =>
          process.arch === 'arm64' ? arch === 'SCMP_ARCH_AARCH64' : arch === 'SCMP_ARCH_X86_64',
        ) as NonNullable<NonNullable<typeof spec.linux.seccomp>['architectures']>,
        listenerPath: socket,
        listenerMetadata: 'word of the caller',
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_NOTIFY' }],
      };
    }),
  );
  const program = path.join(checkout, 'packages/libc/dist/test-programs/seccomp-agent.js');
  const startAgent = async (calls = 1): Promise<{ output: () => string; ended: Promise<unknown> }> => {
    spawnSync('rm', ['-f', socket]);
    const agent = spawn(process.execPath, [program, socket, String(calls)], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    agent.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    await until('the agent listens', () => output.includes('listening'));
    return { output: () => output, ended: new Promise((resolve) => agent.once('close', resolve)) };
  };
  const first = await startAgent();
  const { code, stdout, stderr } = await bench.callAsync('gantry', ['run', 'asking']);
  await first.ended;
  t.same([code, stdout], [4, "mkdir: can't create directory '/tmp/a': No medium found\nafter\n"], stderr);
  const [, text = ''] = first.output().split('\n');
  t.match(JSON.parse(text), {
    ociVersion: /^1\./,
    fds: ['seccompFd'],
    pid: Number,
    metadata: 'word of the caller',
    state: { id: 'asking', status: 'created', bundle: bench.bundle, pid: Number },
  });

  // Another process starts it than has created it, and a third one adds a process.
  const { seccomp } = JSON.parse(readFileSync(path.join(bench.bundle, 'config.json'), 'utf8')).linux;
  bench.configure(bench.spec(['sleep', '100'], (spec) => (spec.linux.seccomp = seccomp)));
  t.equal(bench.callDetached('gantry', ['create', 'apart']).code, 0);
  const second = await startAgent(0);
  const started = await bench.callAsync('gantry', ['start', 'apart']);
  t.equal(started.code, 0, started.stderr);
  await second.ended;
  t.match(JSON.parse(second.output().split('\n')[1] ?? ''), { state: { id: 'apart', status: 'created' } });
  const third = await startAgent();
  const added = await bench.callAsync('gantry', ['exec', 'apart', 'mkdir', '/tmp/b']);
  await third.ended;
  t.match([added.code, added.stderr], [1, /No medium found/]);
  t.match(JSON.parse(third.output().split('\n')[1] ?? ''), { state: { id: 'apart', status: 'running' } });
  t.equal(bench.call('gantry', ['delete', '--force', 'apart']).code, 0);

  const none = await bench.callAsync('gantry', ['run', 'nobody']);
  t.equal(none.code, 1, 'without an agent there is no container');
  t.match(none.stderr, /seccomp listener to its agent/);
  t.equal(bench.call('gantry', ['list', '-q']).stdout, '');
});

t.test('personality, I/O priority, scheduler, domain name and time are as they are asked for', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const look =
    'uname -m; ionice; cut -d" " -f41,19 /proc/self/stat; cat /proc/sys/kernel/domainname; cut -d. -f1 /proc/uptime';
  bench.configure(
    bench.spec(['sh', '-c', look], (spec) => {
      spec.domainname = 'example.test';
      spec.process.ioPriority = { class: 'IOPRIO_CLASS_BE', priority: 6 };
      spec.process.scheduler = { policy: 'SCHED_BATCH', nice: 5 };
      spec.linux.personality = { domain: 'LINUX32' };
      spec.linux.namespaces?.push({ type: 'time' });
      spec.linux.timeOffsets = { boottime: { secs: 7_000_000 }, monotonic: { secs: 1000, nanosecs: 5 } };
    }),
  );
  const { code, stdout, stderr } = bench.call('gantry', ['run', 'other']);
  t.equal(code, 0, stderr);
  const [machine, io, policy, domain, uptime] = stdout.split('\n');
  t.not(machine, 'x86_64');
  t.match(io, /best-effort: prio 6/);
  t.equal(policy, '5 3', 'SCHED_BATCH and its nice value');
  t.equal(domain, 'example.test');
  t.ok(Number(uptime) > 7_000_000);
  spawnSync('chown', ['-R', '100000:100000', bench.dir]);
  bench.configure(
    bench.spec(['cat', '/proc/self/timens_offsets'], (spec) => {
      spec.linux.namespaces?.push({ type: 'time' }, { type: 'user' });
      spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      spec.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      spec.linux.timeOffsets = { boottime: { secs: 7_000_000 } };
    }),
  );
  const mapped = bench.call('gantry', ['run', 'mapped']);
  t.match(mapped.stdout, /boottime +7000000 +0\n/, `in a user namespace as well: ${mapped.stderr}`);
  t.end();
});

t.test('an exec gets the CPUs it is to run on', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(
    bench.spec(['sleep', '100'], (spec) => {
      spec.process.execCPUAffinity = { initial: '0', final: '0' };
    }),
  );
  t.equal(bench.callDetached('gantry', ['run', '-d', 'cpu']).code, 0);
  const allowed = (...words: string[]) => bench.call('gantry', ['exec', ...words]);
  t.match(allowed('cpu', 'grep', 'Cpus_allowed_list', '/proc/self/status').stdout, /:\t0\n$/);
  const process = {
    cwd: '/',
    args: ['grep', 'Cpus_allowed_list', '/proc/self/status'],
    user: { uid: 0, gid: 0 },
    env: ['PATH=/bin'],
  };
  const file = path.join(bench.dir, 'process.json');
  writeFileSync(file, JSON.stringify({ ...process, execCPUAffinity: { final: '1' } }));
  if (existsSync('/sys/devices/system/cpu/cpu1')) t.match(allowed('--process', file, 'cpu').stdout, /:\t1\n$/);
  writeFileSync(file, JSON.stringify({ ...process, execCPUAffinity: { final: '9-1' } }));
  const bad = allowed('--process', file, 'cpu');
  t.equal(bad.code, 255);
  t.match(bad.stderr, /execCPUAffinity/);
  t.end();
});

t.test('a memory policy is set, or refused by name where the kernel has none', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(
    bench.spec(['sh', '-c', 'head -1 /proc/self/numa_maps'], (spec) => {
      spec.linux.memoryPolicy = { mode: 'MPOL_BIND', nodes: '0' };
    }),
  );
  const { code, stdout, stderr } = bench.call('gantry', ['run', 'numa']);
  if (existsSync('/proc/self/numa_maps')) t.match(stdout, /bind:0/, stderr);
  else t.match([code, stderr], [1, /linux\.memoryPolicy: this kernel has no memory policies/]);
  t.end();
});

t.test('a mount is changed by another entry of the list', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const look =
    'grep -E " /(tmp|mnt) " /proc/self/mountinfo | cut -d" " -f5,6 | sort; grep " /tmp " /proc/mounts; touch /tmp/x 2>&1; touch /mnt/x 2>&1';
  mkdirSync(path.join(bench.dir, 'volume'));
  bench.configure(
    bench.spec(['sh', '-c', look], (spec) => {
      spec.mounts.push(
        { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'size=64k'] },
        { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['remount', 'ro', 'noexec', 'size=128k'] },
        { destination: '/mnt', type: 'bind', source: path.join(bench.dir, 'volume'), options: ['bind', 'nodev'] },
        {
          destination: '/mnt',
          type: 'bind',
          source: path.join(bench.dir, 'volume'),
          options: ['bind', 'remount', 'ro'],
        },
      );
    }),
  );
  const [runc, ours] = (['runc', 'gantry'] as const).map((name) => bench.call(name, ['run', 'again']));
  // Runc makes the mount read-only, but not its file system.
  const withoutSuperFlags = (text = ''): string => text.replace(/^tmpfs .*\n/m, '');
  t.equal(
    withoutSuperFlags(ours?.stdout),
    withoutSuperFlags(runc?.stdout),
    `${runc?.stderr ?? ''}${ours?.stderr ?? ''}`,
  );
  t.match(ours?.stdout, /^tmpfs \/tmp tmpfs ro,noexec,relatime,size=128k/m);
  bench.configure(
    bench.spec(['true'], (spec) => spec.mounts.push({ destination: '/mnt', source: 'x', options: ['remount', 'ro'] })),
  );
  t.match(bench.call('gantry', ['run', 'nothing']), { code: 1, stderr: /error mounting .*fspick/ });
  t.end();
});

t.test('a container without a mount namespace shares its mounts, and takes them away with it', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const withoutMounts = (args: string[], change: Parameters<RuntimeBench['spec']>[1] = () => undefined) =>
    bench.configure(
      bench.spec(args, (spec) => {
        spec.linux.namespaces = spec.linux.namespaces?.filter(({ type }) => type !== 'mount') ?? [];
        spec.linux.maskedPaths = [];
        spec.linux.readonlyPaths = [];
        change(spec);
      }),
    );
  const once = (words: string[]) =>
    bench.callThroughShell(
      'unshare -m --propagation shared sh -c \'"$@"; echo "status $?"; grep -c "rootfs" /proc/self/mountinfo\' sh "$@"',
      'gantry',
      words,
    );
  withoutMounts(['sh', '-c', 'ls /; head -1 /proc/1/comm; grep -c " / /proc " /proc/self/mountinfo; exit 5']);
  const { stdout, stderr } = once(['run', 'open']);
  t.match(stdout, /^bin\ndev\n[^]*\nsh\n1\nstatus 5\n0\n$/, stderr);
  withoutMounts(['/nowhere']);
  t.match(once(['run', 'open']).stdout, /^status 1\n0\n$/, 'nothing is left of one that failed');
  withoutMounts(['sleep', '1000']);
  const script =
    'unshare -m sh -c \'"$@" run -d open </dev/null >/dev/null 2>&1 && "$@" exec open ls / ; "$@" delete -f open; grep -c rootfs /proc/self/mountinfo\' sh "$@"';
  t.match(bench.callThroughShell(script, 'gantry', []).stdout, /^bin\ndev\n[^]*var\n0\n$/, 'exec is in the same root');
  withoutMounts(['true'], (spec) => (spec.linux.maskedPaths = ['/proc/kcore']));
  t.match(bench.call('gantry', ['run', 'masked']), {
    code: 1,
    stderr: /unable to restrict sys entries without a private MNT namespace/,
  });
  t.end();
});

t.test('a mount namespace is joined by its path', { skip }, (t) => {
  const bench = new RuntimeBench();
  const held = spawn('unshare', ['-m', 'sleep', '1000'], { stdio: 'ignore' });
  t.teardown(() => {
    held.kill('SIGKILL');
    bench.remove();
  });
  const file = `/proc/${held.pid}/ns/mnt`;
  return until(
    'the namespace is there',
    () =>
      spawnSync('cmp', ['-s', `/proc/${held.pid}/comm`, '/dev/null']).status === 1 &&
      readFileSync(`/proc/${held.pid}/comm`, 'utf8') === 'sleep\n',
  ).then(() => {
    const own = spawnSync('readlink', [file], { encoding: 'utf8' }).stdout;
    bench.configure(
      bench.spec(['sh', '-c', 'ls -l /proc/self/ns/mnt; ls /'], (spec) => {
        spec.linux.namespaces = [{ type: 'pid' }, { type: 'mount', path: file }, { type: 'uts' }, { type: 'ipc' }];
      }),
    );
    const { code, stdout, stderr } = bench.call('gantry', ['run', 'joined']);
    t.equal(code, 0, stderr);
    t.ok(stdout.includes(own.trim()), stdout);
    t.match(stdout, /\nbin\ndev\n/);
  });
});

t.test('what the host does not have is said by name', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  const refused = (change: Parameters<RuntimeBench['spec']>[1], message: RegExp) => {
    bench.configure(bench.spec(['true'], change));
    t.match(bench.call('gantry', ['run', 'without']), { code: 1, stderr: message });
  };
  if (!mounts.includes(' - resctrl ')) {
    refused(
      (spec) => (spec.linux.intelRdt = { closID: 'a' }),
      /intelRdt is specified in config, but Intel RDT is not enabled/,
    );
  }
  if (!mounts.includes(' - selinuxfs ')) {
    const words = /selinux label is specified in config, but selinux is disabled or not supported/;
    refused((spec) => (spec.process.selinuxLabel = 'system_u:system_r:container_t:s0'), words);
    refused((spec) => (spec.linux.mountLabel = 'system_u:object_r:container_file_t:s0'), words);
  }
  t.end();
});

const noVeth = spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'type', 'veth']).status !== 0 && 'no veth devices here';

t.test('network devices of the host become the container’s, with their addresses', { skip: skip || noVeth }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(
    bench.spec(['sh', '-c', 'ip -o link; ip -o addr'], (spec) => {
      spec.linux.netDevices = { gantry0: { name: 'eth0' }, gantry1: {} };
    }),
  );
  const make = [
    'ip link add gantry0 type veth peer name gantry1',
    'ip addr add 10.9.8.7/24 brd 10.9.8.255 dev gantry0',
    'ip -6 addr add fd00::7/64 dev gantry0',
    'ip link set gantry0 up',
    '"$@"',
    'echo "status $?"',
    'ip -o link',
  ].join('; ');
  const call = () => bench.callThroughShell(`unshare -n sh -c '${make}' sh "$@"`, 'gantry', ['run', 'net']);
  const { stdout, stderr } = call();
  const [inside = '', outside = ''] = stdout.split('status 0\n');
  t.match(inside, /: eth0@gantry1: <[^>]*UP[,>]/, stderr);
  t.match(inside, /: gantry1@eth0: <[^>]*UP[,>]/);
  t.match(inside, /eth0 +inet 10\.9\.8\.7\/24 brd 10\.9\.8\.255/);
  t.match(inside, /eth0 +inet6 fd00::7\/64/);
  t.notMatch(outside, /gantry/, 'virtual devices end with their namespace');
  bench.configure(bench.spec(['true'], (spec) => (spec.linux.netDevices = { none0: {} })));
  t.match(call().stdout, /^status 1\n/);
  bench.configure(
    bench.spec(['true'], (spec) => {
      spec.linux.netDevices = { gantry0: {} };
      spec.linux.namespaces = spec.linux.namespaces?.filter(({ type }) => type !== 'network') ?? [];
    }),
  );
  t.match(bench.call('gantry', ['run', 'net']), { code: 1, stderr: /without a NET namespace/ });
  t.end();
});
