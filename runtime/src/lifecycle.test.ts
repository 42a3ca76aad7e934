/** A container's life: started, joined, paused, killed, destroyed, and what is left after each kind of failure. */
import t from 'tap';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SIGKILL, SIGTERM } from '@gantry/libc';
import type { Process } from '@gantry/oci';
import { Bundle, whyNotReal } from './testing/scenario.ts';
import type { Step, StepResult, TestSpec } from './testing/scenario.ts';

const skip = whyNotReal() ?? false;

function bundle(t: { teardown(done: () => void): void }): Bundle {
  const made = new Bundle();
  t.teardown(() => made.remove());
  return made;
}

function processOf(args: readonly string[], more: Partial<Process> = {}): Process {
  return { args, cwd: '/', env: ['PATH=/bin'], user: { uid: 0, gid: 0 }, ...more };
}

function numbers(step: StepResult | undefined): readonly unknown[] {
  return Array.isArray(step?.value) ? step.value : [];
}

const end: readonly Step[] = [{ do: 'kill', signal: SIGKILL }, { do: 'wait' }, { do: 'destroy' }];

t.test('exec joins every namespace and the control group of the container', { skip }, (t) => {
  const b = bundle(t);
  const show = 'for n in net ipc uts mnt pid cgroup; do readlink /proc/$P/ns/$n; done; cat /proc/$P/cgroup';
  const result = b.run({
    spec: b.spec(['sh', '-c', 'sleep 100']),
    steps: [
      { do: 'start' },
      { do: 'exec', process: processOf(['sh', '-c', show], { env: ['PATH=/bin', 'P=self'] }) },
      { do: 'exec', process: processOf(['sh', '-c', show], { env: ['PATH=/bin', 'P=1'] }) },
      { do: 'exec', process: processOf(['sh', '-c', 'hostname; echo $HOME; ls /proc/$$/fd; exit 7']) },
      { do: 'pids' },
      ...end,
    ],
  });
  t.same(result.leaks, []);
  const [, own, inits, other, pids] = result.steps;
  t.match(own?.output, /mnt:/);
  t.equal(own?.output, inits?.output);
  t.equal(other?.output, 'box\n/root\n0\n1\n2\n');
  t.equal(other?.status, 7);
  t.equal(numbers(pids).length, 1);
  t.end();
});

t.test('exec takes user, capabilities, limits and directory of its own process', { skip }, (t) => {
  const b = bundle(t);
  const script =
    'grep -E "^(Uid|CapEff|CapBnd|CapInh|NoNewPrivs)" /proc/self/status; ulimit -n; pwd; cat /proc/self/oom_score_adj';
  const process = processOf(['sh', '-c', script], {
    user: { uid: 1000, gid: 1000 },
    cwd: '/tmp',
    noNewPrivileges: false,
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 77, hard: 88 }],
    oomScoreAdj: 500,
  });
  const result = b.run({ spec: b.spec(['sleep', '100']), steps: [{ do: 'start' }, { do: 'exec', process }, ...end] });
  t.same((result.steps[1]?.output ?? '').replaceAll(/\t+/g, ' ').trim().split('\n'), [
    'Uid: 1000 1000 1000 1000',
    'CapInh: 0000000000000000',
    'CapEff: 0000000000000000',
    'CapBnd: 00000000a80425fb',
    'NoNewPrivs: 0',
    '77',
    '/tmp',
    '500',
  ]);
  t.end();
});

t.test('exec works in a user namespace', { skip }, (t) => {
  const b = bundle(t);
  const spec = b.spec(['sleep', '100'], userNamespace);
  const result = b.run({
    spec,
    steps: [
      { do: 'start' },
      {
        do: 'exec',
        process: processOf([
          'sh',
          '-c',
          'id -u; cat /proc/self/uid_map; readlink /proc/1/ns/user; readlink /proc/self/ns/user',
        ]),
      },
      ...end,
    ],
  });
  const [uid, map, one, self] = (result.steps[1]?.output ?? '').trim().split('\n');
  t.equal(uid, '0', JSON.stringify(result));
  t.match(map, /0\s+100000\s+1000/);
  t.equal(one, self);
  t.same(result.leaks, []);
  t.end();
});

function userNamespace(spec: TestSpec): void {
  spec.linux.namespaces?.push({ type: 'user' });
  spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
  spec.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
}

t.test('a terminal is the container’s own, on /dev/console, of the size asked for', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['sh', '-c', 'tty; stty size; ls -l /dev/console; read x; echo got $x END'], (spec) => {
      spec.process.terminal = true;
      spec.process.consoleSize = { width: 100, height: 30 };
    }),
    steps: [{ do: 'start' }, { do: 'terminal', input: 'hello\n', until: 'END' }, { do: 'wait' }, { do: 'destroy' }],
  });
  t.same(result.leaks, []);
  t.match(result.steps[1]?.output, /\/dev\/(?:console|pts\/0)\r\n30 100\r\n.*136,\s+0[^]*got hello END/);
  t.equal(result.steps[2]?.status, 0);
  t.end();
});

t.test('exec with a terminal, also in a user namespace', { skip }, (t) => {
  for (const change of [() => undefined, userNamespace]) {
    const b = bundle(t);
    const process = processOf(['sh', '-c', 'tty; read x; echo got $x END'], {
      terminal: true,
      consoleSize: { width: 80, height: 24 },
    });
    const result = b.run({
      spec: b.spec(['sleep', '100'], change),
      steps: [{ do: 'start' }, { do: 'exec', process, input: 'word\n' }, ...end],
    });
    t.match(result.steps[1]?.output, /\/dev\/pts\/0\r\n[^]*got word END/, JSON.stringify(result));
    t.same(result.leaks, []);
  }
  t.end();
});

t.test('pause stops every process, resume lets them run; exec into a paused container is refused', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['sleep', '100']),
    steps: [
      { do: 'start' },
      { do: 'pause' },
      { do: 'exec', process: processOf(['true']) },
      { do: 'resume' },
      { do: 'resume' },
      { do: 'exec', process: processOf(['true']) },
      ...end,
    ],
  });
  const [, paused, refused, resumed, twice, ran] = result.steps;
  t.equal(paused?.value, true);
  t.match(refused?.error, { code: 'failed precondition', message: /paused/ });
  t.equal(resumed?.value, false);
  t.equal(twice?.error?.code, 'failed precondition');
  t.equal(ran?.status, 0);
  t.end();
});

t.test('SIGKILL ends a paused container', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({ spec: b.spec(['sleep', '100']), steps: [{ do: 'start' }, { do: 'pause' }, ...end] });
  t.equal(result.steps[3]?.status, 137);
  t.same(result.leaks, []);
  t.end();
});

t.test('signals reach init; with all, every process; a dead init is not found', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['sh', '-c', 'trap "exit 9" TERM; sleep 100 & wait']),
    steps: [
      { do: 'start' },
      { do: 'sleep', ms: 100 },
      { do: 'kill', signal: SIGTERM },
      { do: 'wait' },
      { do: 'kill', signal: SIGTERM },
      { do: 'destroy' },
    ],
  });
  t.equal(result.steps[3]?.status, 9);
  t.match(result.steps[4]?.error, { code: 'not found', message: 'process already finished' });
  t.same(result.leaks, []);
  t.end();
});

t.test('without a pid namespace of its own, SIGKILL ends what init has left behind', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['sh', '-c', '(sleep 100 &) ; sleep 100'], (spec) => {
      spec.linux.namespaces = spec.linux.namespaces?.filter(({ type }) => type !== 'pid') ?? [];
    }),
    steps: [
      { do: 'start' },
      { do: 'sleep', ms: 200 },
      { do: 'pids' },
      { do: 'kill', signal: SIGKILL },
      { do: 'wait' },
      { do: 'sleep', ms: 100 },
      { do: 'pids' },
      { do: 'destroy' },
    ],
  });
  t.equal(numbers(result.steps[2]).length, 2, JSON.stringify(result.steps));
  t.same(result.steps[6]?.value, []);
  t.end();
});

t.test('a created container can be killed, destroyed and has executed nothing', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({ spec: b.spec(['touch', '/tmp/ran']), steps: end });
  t.equal(result.steps[1]?.status, 137);
  t.same(result.leaks, []);
  t.end();
});

t.test('a created init holds nothing of its maker but its own three, the handshake and Node’s loop', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['true']),
    steps: [{ do: 'host', command: ['ls', '-l', '/proc/PID/fd'] }, ...end],
  });
  const links = [...(result.steps[0]?.output ?? '').matchAll(/(\d+) -> (\S+)/g)].map(([, , target = '']) => target);
  const others = links.filter((link) => !link.startsWith('anon_inode:[event') && !link.startsWith('pipe:'));
  t.equal(others.length, 4, JSON.stringify(links));
  t.equal(others[0], '/dev/null');
  t.match(others[3], /^socket:/);
  t.end();
});

t.test('a hundred execs in a row all run', { skip }, (t) => {
  const b = bundle(t);
  const execs = Array.from({ length: 100 }, (_, n): Step => ({
    do: 'exec',
    process: processOf(['sh', '-c', `exit ${n}`]),
  }));
  const result = b.run({ spec: b.spec(['sleep', '100']), steps: [{ do: 'start' }, ...execs, ...end] });
  t.same(
    result.steps.slice(1, 101).map(({ status, error }) => error?.message ?? status),
    Array.from({ length: 100 }, (_, n) => n),
  );
  t.same(result.leaks, []);
  t.end();
});

t.test('a memory limit ends who exceeds it, and a tiny one still lets a container start', { skip }, (t) => {
  const b = bundle(t);
  const limited = (bytes: number) => (spec: TestSpec) => {
    spec.linux.resources = { memory: { limit: bytes, swap: bytes } };
  };
  const eats = b.run({
    spec: b.spec(['sh', '-c', 'x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done'], limited(8 << 20)),
    steps: [{ do: 'start' }, { do: 'wait' }, { do: 'oomKills' }, { do: 'destroy' }],
  });
  t.equal(eats.steps[1]?.status, 137);
  t.ok(Number(eats.steps[2]?.value) >= 1);
  t.equal(b.runOnce(['true'], limited(6 << 20)).status, 0, 'six megabytes are enough for true');
  t.end();
});

t.test('pids are limited and counted', { skip }, (t) => {
  const { output } = bundle(t).runOnce(['sh', '-c', 'for i in 1 2 3 4 5 6; do sleep 1 & done; wait'], (spec) => {
    spec.linux.resources = { pids: { limit: 4 } };
  });
  t.match(output, /can't fork/);
  t.end();
});

const createFailures: readonly (readonly [
  what: string,
  change: (spec: TestSpec, b: Bundle) => void,
  message: RegExp,
])[] = [
  [
    'a program that is not in PATH',
    (spec) => (spec.process.args = ['nope']),
    /^unable to start container process: exec: "nope": executable file not found in \$PATH$/,
  ],
  [
    'a path that does not exist',
    (spec) => (spec.process.args = ['/bin/nope']),
    /exec: "\/bin\/nope": stat \/bin\/nope: no such file or directory$/,
  ],
  ['a directory', (spec) => (spec.process.args = ['/bin']), /exec: "\/bin": permission denied$/],
  [
    'a file that is not executable',
    (spec) => (spec.process.args = ['/etc/passwd']),
    /exec: "\/etc\/passwd": permission denied$/,
  ],
  ['an unknown file system', (spec) => spec.mounts.push({ destination: '/x', type: 'nofs', source: 'x' }), /nofs/],
  [
    'a bind source that is missing',
    (spec) => spec.mounts.push({ destination: '/x', type: 'bind', source: '/nowhere', options: ['rbind'] }),
    /mounts\[7\].*nowhere/,
  ],
  [
    'a data option of a bind mount',
    (spec) => spec.mounts.push({ destination: '/x', type: 'bind', source: '/tmp', options: ['rbind', 'size=1k'] }),
    /filesystem-specific options/,
  ],
  [
    'a mount inside /proc',
    (spec) => spec.mounts.push({ destination: '/proc/self', type: 'tmpfs', source: 'tmpfs' }),
    /inside \/proc/,
  ],
  [
    'a /proc that is no procfs',
    (spec) => (spec.mounts = [{ destination: '/proc', type: 'bind', source: '/tmp', options: ['bind'] }]),
    /not of type proc/,
  ],
  ['a working directory that is a file', (spec) => (spec.process.cwd = '/bin/sh'), /not a directory/],
  [
    'a working directory behind a descriptor',
    (spec) => (spec.process.cwd = '/proc/self/fd/7'),
    /(?:ELOOP|ENOTDIR|ENOENT)/,
  ],
  [
    'a sysctl of the host',
    (spec) => (spec.linux.sysctl = { 'kernel.pid_max': '1' }),
    /not in a separate kernel namespace/,
  ],
  ['a missing rootfs', (spec) => (spec.root.path = 'nothing'), /invalid rootfs/],
  [
    'a rootfs that is a symlink',
    (spec, b) => {
      symlinkSync('/', join(b.dir, 'link'));
      spec.root.path = 'link';
    },
    /invalid rootfs/,
  ],
  [
    'a network namespace that is none',
    (spec) => (spec.linux.namespaces = [{ type: 'mount' }, { type: 'uts' }, { type: 'network', path: '/etc/passwd' }]),
    /linux\.namespaces\[2\]\.path: \/etc\/passwd is not a namespace/,
  ],
  [
    'a network namespace that is another kind',
    (spec) =>
      (spec.linux.namespaces = [{ type: 'mount' }, { type: 'uts' }, { type: 'network', path: '/proc/self/ns/uts' }]),
    /joining the network namespace/,
  ],
  [
    'an unmapped user',
    (spec) => {
      userNamespace(spec);
      spec.process.user = { uid: 5000, gid: 0 };
    },
    /cannot setuid to unmapped uid 5000/,
  ],
  ['an AppArmor profile', (spec) => (spec.process.apparmorProfile = 'docker-default'), /apparmor/],
  ['an SELinux label', (spec) => (spec.process.selinuxLabel = 'x'), /selinux/i],
  [
    'a hostname without a namespace for it',
    (spec) => (spec.linux.namespaces = [{ type: 'mount' }]),
    /private UTS namespace/,
  ],
  [
    'a terminal without devpts',
    (spec) => {
      spec.process.terminal = true;
      spec.mounts = spec.mounts.filter(({ type }) => type !== 'devpts');
    },
    /devpts/,
  ],
  [
    'a shared terminal file system that is no devpts',
    (spec) => {
      spec.process.terminal = true;
      spec.mounts = spec.mounts.map((m) => (m.type === 'devpts' ? { ...m, type: 'tmpfs', options: [] } : m));
    },
    /devpts/,
  ],
];

for (const [what, change, message] of createFailures) {
  t.test(`create fails on ${what} and leaves nothing`, { skip }, (t) => {
    const b = bundle(t);
    const result = b.run({
      spec: b.spec(['true'], (spec) => void change(spec, b)),
      steps: [{ do: 'start' }, { do: 'wait' }, { do: 'destroy' }],
    });
    t.match(result.error?.message, message, JSON.stringify(result));
    t.same(result.leaks, []);
    t.end();
  });
}

t.test('start reports what only execve finds out, and init is there to be reaped', { skip }, (t) => {
  const b = bundle(t);
  writeFileSync(join(b.rootfs, 'bin/garbage'), 'no program', { mode: 0o755 });
  const steps: Step[] = [{ do: 'start' }, { do: 'wait' }, { do: 'destroy' }];
  const result = b.run({ spec: b.spec(['garbage']), steps });
  t.match(result.steps[0]?.error?.message, /exec \/bin\/garbage: exec format error/);
  t.equal(result.steps[1]?.status, 1);
  t.same(result.leaks, []);
  t.end();
});

t.test('an exec that fails leaves no process and the container runs on', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['sleep', '100']),
    steps: [
      { do: 'start' },
      { do: 'exec', process: processOf(['nope']) },
      { do: 'exec', process: processOf(['true'], { cwd: '/proc/self/fd/5' }) },
      { do: 'pids' },
      { do: 'exec', process: processOf(['true']) },
      ...end,
    ],
  });
  t.match(result.steps[1]?.error?.message, /exec: "nope": executable file not found in \$PATH/);
  t.ok(result.steps[2]?.error);
  t.equal(numbers(result.steps[3]).length, 1);
  t.equal(result.steps[4]?.status, 0);
  t.same(result.leaks, []);
  t.end();
});

t.test('what a dead shim has left is found by the record and removed, twice without harm', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['sh', '-c', 'sleep 100 & sleep 100']),
    steps: [{ do: 'start' }, { do: 'forget' }, { do: 'wait' }, { do: 'forget' }],
  });
  t.same(
    result.steps.map(({ error }) => error),
    [undefined, undefined, undefined, undefined],
  );
  t.equal(result.steps[2]?.status, 137);
  // The handle of the living driver keeps its pidfd; everything else is gone.
  t.same(
    result.leaks.filter((leak) => !leak.startsWith('descriptors')),
    [],
  );
  t.end();
});

t.test('a container with chroot instead of pivot_root sees no mount of the host’s proc', { skip }, (t) => {
  const b = bundle(t);
  const result = b.run({
    spec: b.spec(['sh', '-c', 'mount | grep -c " type proc "; ls /']),
    noPivot: true,
    steps: [{ do: 'start' }, { do: 'exec', process: processOf(['true']) }, { do: 'wait' }, { do: 'destroy' }],
  });
  t.equal(result.steps[2]?.status, 0, JSON.stringify(result));
  t.match(result.output, /bin\ndev\n/);
  t.same(result.leaks, []);
  t.end();
});

t.test('a read-only mount of the rootfs directory and missing targets are made where they belong', { skip }, (t) => {
  const b = bundle(t);
  mkdirSync(join(b.rootfs, 'var'));
  symlinkSync('/elsewhere/run', join(b.rootfs, 'var/run'));
  symlinkSync('../../../../../../../../../tmp', join(b.rootfs, 'climb'));
  const { output, status, result } = b.runOnce(
    ['sh', '-c', 'mount | grep -c marker; ls -d /elsewhere/run/marker /tmp/climbed'],
    (spec) => {
      for (const destination of ['/var/run/marker', '/climb/climbed'])
        spec.mounts.push({ destination, type: 'tmpfs', source: 'marker' });
    },
  );
  t.equal(status, 0, JSON.stringify(result));
  t.match(output, /2\n\/elsewhere\/run\/marker\n\/tmp\/climbed/);
  t.end();
});
