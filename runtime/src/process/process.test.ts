import t from 'tap';
import { makedev, PR_CAPBSET_DROP, RecordingSyscalls, S_IFCHR, S_IFDIR, S_IFIFO, S_IFREG } from '@gantry/libc';
import type { FileStat } from '@gantry/libc';
import { hostId } from '../namespaces/user-mappings.ts';
import { checkSysctls, sysctlPath, writeSysctls } from '../namespaces/sysctl.ts';
import { execute, takeIdentity } from './become.ts';
import { applyAmbient, capabilityMasks, dropBounding } from './capabilities.ts';
import { homeOf, orderedEnvironment, withHome } from './environment.ts';
import { findExecutable } from './executable.ts';
import { limitsToSet, lowerOwnLimits, setLimits } from './limits.ts';
import type { ProcessPlan } from './plan.ts';
import { ioPriorityValue, schedulerAttributes } from './scheduling.ts';
import { installStdio, ownStdio, reopenNull } from './stdio.ts';

const file = (mode: number, more: Partial<FileStat> = {}): FileStat => ({
  dev: 1n,
  ino: 1n,
  mode,
  nlink: 1,
  uid: 0,
  gid: 0,
  rdev: 0n,
  size: 0n,
  blocks: 0n,
  atimeNs: 0n,
  mtimeNs: 0n,
  ctimeNs: 0n,
  ...more,
});

const plan: ProcessPlan = {
  args: ['sh', '-c', 'true'],
  env: ['PATH=/bin'],
  cwd: '/work',
  uid: 1000,
  gid: 1001,
  groups: [7],
  groupsAreGone: false,
  umask: 0o022,
  capabilities: { bounding: 1n, effective: 1n, permitted: 1n, inheritable: 0n, ambient: 0n },
  lastCapability: 3,
  noNewPrivileges: true,
  seccomp: { program: Buffer.alloc(8), flags: 0, asksAgent: false, sendsListener: false },
  apparmorProfile: undefined,
  selinuxLabel: undefined,
  limits: [],
  oomScoreAdj: undefined,
  terminal: false,
  consoleSize: undefined,
  scheduler: undefined,
  ioPriority: undefined,
  personality: undefined,
  affinity: undefined,
  memoryPolicy: undefined,
};

/** Every path is this file, whichever way it is asked for. */
function bothStats(stat: FileStat): RecordingSyscalls {
  return new RecordingSyscalls().answer('fstatat', stat).answer('fstatatIfPresent', stat);
}

t.test('identity is given up in the order that keeps what the next step needs', (t) => {
  const sys = bothStats(file(S_IFREG | 0o755));
  t.equal(takeIdentity(sys, plan), '/bin/sh');
  t.same(
    sys.names().filter((name) => !['openat2', 'close', 'fstatat', 'fstatatIfPresent', 'read'].includes(name)),
    ['fchdir', 'prctl', 'prctl', 'prctl', 'prctl', 'setgroups', 'setresgid', 'setresuid', 'getcwd', 'prctl', 'capset'],
  );
  t.same(sys.openDescriptors(), []);
  t.end();
});

t.test('a filter without no_new_privs is installed with one capability more, which is given up directly after', (t) => {
  const late = { ...plan, noNewPrivileges: false };
  const sys = bothStats(file(S_IFREG | 0o755));
  takeIdentity(sys, late);
  t.throws(() => execute(sys, late, '/bin/sh'), /called execve/);
  const [before, after] = sys.argumentsOf('capset');
  t.equal(before?.[0].effective, 1n | (1n << 21n));
  t.equal(after?.[0].effective, 1n);
  t.same(sys.names().slice(-4), ['seccompSetFilter', 'capset', 'prctl', 'execve']);
  const strict = new RecordingSyscalls();
  t.throws(() => execute(strict, plan, '/bin/sh'), /called execve/);
  t.same(strict.names(), ['prctl', 'seccompSetFilter', 'execve'], 'with no_new_privs the filter comes last');
  t.end();
});

t.test('a working directory outside of the root is refused', (t) => {
  const sys = new RecordingSyscalls().answer('getcwd', '(unreachable)/');
  t.throws(() => takeIdentity(sys, plan), /outside of container mount namespace root/);
  t.end();
});

t.test('unknown capability names are left out, and what the kernel does not have', (t) => {
  const masks = capabilityMasks({ bounding: ['CAP_CHOWN', 'CAP_NO_SUCH', 'CAP_CHECKPOINT_RESTORE', 'toString'] }, 39);
  t.equal(masks.bounding, 1n);
  t.equal(masks.effective, 0n);
  t.end();
});

t.test('the bounding set loses every capability that is not in it; ambient ones must be inheritable', (t) => {
  const sys = new RecordingSyscalls();
  dropBounding(sys, 0b101n, 3);
  t.same(sys.argumentsOf('prctl'), [
    [PR_CAPBSET_DROP, 1n],
    [PR_CAPBSET_DROP, 3n],
  ]);
  const ambient = new RecordingSyscalls();
  applyAmbient(ambient, { bounding: 0n, effective: 0n, permitted: 0b111n, inheritable: 0b011n, ambient: 0b110n }, 3);
  t.same(
    ambient
      .argumentsOf('prctl')
      .slice(1)
      .map((args) => args[2]),
    [1n],
  );
  t.end();
});

t.test('a program is looked up as runc does, with runc’s words', (t) => {
  const found = (mode: number) => bothStats(file(mode));
  const missing = new RecordingSyscalls().answer('fstatatIfPresent', undefined);
  t.equal(findExecutable(found(S_IFREG | 0o755), 'x', ['PATH=/a:/b']), '/a/x');
  t.throws(() => findExecutable(found(S_IFREG | 0o644), '/x', []), { message: 'exec: "/x": permission denied' });
  t.throws(() => findExecutable(found(S_IFDIR | 0o755), '/x', []), { message: 'exec: "/x": permission denied' });
  t.throws(() => findExecutable(missing, 'x', ['PATH=/a:/b']), {
    message: 'exec: "x": executable file not found in $PATH',
  });
  t.throws(() => findExecutable(found(S_IFREG | 0o755), 'x', []), {
    message: 'exec: "x": executable file not found in $PATH',
  });
  t.throws(() => findExecutable(found(S_IFREG | 0o755), 'x', ['PATH=:/b']), /relative to current directory/);
  t.throws(() => findExecutable(new RecordingSyscalls().fail('fstatat', 1, 'ENOENT'), '/x/y', []), {
    message: 'exec: "/x/y": stat /x/y: no such file or directory',
  });
  t.end();
});

t.test('a program or interpreter behind a magic link is refused', (t) => {
  const direct = new RecordingSyscalls().answer('fstatat', file(S_IFREG | 0o755)).fail('openat2', 1, 'ELOOP');
  t.throws(() => findExecutable(direct, '/bin/x', []), { message: 'exec: "/bin/x": permission denied' });
  const script = new RecordingSyscalls()
    .answer('fstatat', file(S_IFREG | 0o755))
    .play('read', (_, into) => into.write('#! /proc/self/exe -x\n'))
    .fail('openat2', 3, 'ELOOP');
  t.throws(() => findExecutable(script, '/bin/x', []), { message: 'exec: "/bin/x": permission denied' });
  t.equal(script.argumentsOf('openat2')[2]?.[1], '/proc/self/exe');
  t.same(script.openDescriptors(), []);
  t.end();
});

t.test('of a variable that is given twice the last is kept; HOME comes from the user list', (t) => {
  t.same(orderedEnvironment(['A=1', 'B=2', 'A=3']), ['A=3', 'B=2']);
  const passwd = 'root:x:0:0:root:/root:/bin/sh\nx:x:01:1::/zero:\nuser:x:1:1::/home/user:/bin/sh\nbad:x:2:2::/a\tb:\n';
  t.equal(homeOf(passwd, 1), '/home/user', 'a number with a leading zero is nobody');
  t.equal(homeOf(passwd, 2), '/', 'control characters are not passed on');
  t.equal(homeOf(passwd, 3), '/');
  const sys = new RecordingSyscalls();
  t.same(withHome(sys, 3, ['HOME=/set'], 0), ['HOME=/set']);
  t.same(sys.names(), [], 'nothing is read when HOME is set');
  const fifo = new RecordingSyscalls().answer('fstat', file(S_IFIFO | 0o644));
  t.same(withHome(fifo, 3, ['HOME='], 0), ['HOME=/']);
  t.same(fifo.names(), ['openat2', 'fstat', 'close'], 'a fifo is never opened for reading');
  t.end();
});

t.test('limits are set from outside, those that would hamper the set-up by the process itself', (t) => {
  const limits = limitsToSet({
    cwd: '/',
    user: { uid: 0, gid: 0 },
    rlimits: [
      { type: 'RLIMIT_NOFILE', soft: 10, hard: 20 },
      { type: 'RLIMIT_AS', soft: 100, hard: 200 },
      { type: 'RLIMIT_CORE', soft: 2 ** 64, hard: 2 ** 64 },
    ],
  });
  const parent = new RecordingSyscalls();
  setLimits(parent, 5, limits);
  t.same(
    parent.argumentsOf('setResourceLimit').map(([pid, resource]) => [pid, resource]),
    [
      [5, 7],
      [5, 4],
    ],
  );
  t.equal(limits[2]?.soft, 2n ** 64n - 1n);
  const child = new RecordingSyscalls();
  lowerOwnLimits(child, limits);
  t.same(
    child.argumentsOf('setResourceLimit').map(([pid, resource]) => [pid, resource]),
    [[0, 9]],
  );
  const refusing = new RecordingSyscalls().fail('setResourceLimit', 1, 'EPERM');
  t.throws(() => setLimits(refusing, 5, limits), /error setting rlimit type 7: operation not permitted/i);
  t.end();
});

t.test('scheduling attributes are the kernel’s numbers', (t) => {
  const attr = schedulerAttributes({ policy: 'SCHED_FIFO', priority: 5, flags: ['SCHED_FLAG_RESET_ON_FORK'] });
  t.same([attr.readUInt32LE(0), attr.readUInt32LE(4), attr.readBigUInt64LE(8), attr.readUInt32LE(20)], [48, 1, 1n, 5]);
  t.equal(ioPriorityValue({ class: 'IOPRIO_CLASS_BE', priority: 4 }), (2 << 13) | 4);
  t.end();
});

t.test('standard descriptors may be given in any order and numbers', (t) => {
  const sys = new RecordingSyscalls();
  installStdio(sys, { stdin: 2, stdout: -1, stderr: 0 });
  t.same(sys.names(), ['openat', 'dup', 'dup', 'dup2', 'dup2', 'dup2'], 'copied before any is replaced');
  t.end();
});

t.test('pipes are given to the container’s user, files and the null device are not', (t) => {
  const sys = new RecordingSyscalls().answerInTurn(
    'fstat',
    file(S_IFIFO),
    file(S_IFREG),
    file(S_IFCHR, { rdev: makedev(1, 3) }),
  );
  ownStdio(sys, { stdin: 10, stdout: 11, stderr: 12 }, 1000);
  t.same(
    sys.argumentsOf('fchownat').map(([fd, , uid]) => [fd, uid]),
    [[10, 1000]],
  );
  const other = new RecordingSyscalls().answer('fstat', file(S_IFREG));
  reopenNull(other);
  t.same(other.argumentsOf('dup2'), []);
  t.end();
});

t.test('ids are looked up in the ranges of the user namespace', (t) => {
  const mappings = [
    { containerID: 0, hostID: 100_000, size: 10 },
    { containerID: 50, hostID: 7, size: 1 },
  ];
  t.equal(hostId(mappings, 9), 100_009);
  t.equal(hostId(mappings, 50), 7);
  t.equal(hostId(mappings, 10), undefined);
  t.equal(hostId(undefined, 10), 10);
  t.end();
});

t.test('only parameters of the container’s own namespaces are written, and only into procfs', (t) => {
  t.equal(sysctlPath('net.ipv4.conf.eth0/1.x'), 'net/ipv4/conf/eth0.1/x');
  t.equal(sysctlPath('net/ipv4/conf/eth0.1/x'), 'net/ipv4/conf/eth0.1/x');
  const spec = (key: string, ...types: ('network' | 'ipc' | 'uts')[]) => ({
    ociVersion: '1.0.0',
    linux: { sysctl: { [key]: '1' }, namespaces: types.map((type) => ({ type })) },
  });
  checkSysctls(spec('net.ipv4.ip_forward', 'network'));
  checkSysctls(spec('kernel.shmmax', 'ipc'));
  for (const key of [
    'kernel.pid_max',
    'net.ipv4.ip_forward',
    'kernel.hostname',
    'net.a.../x',
    'net',
    'kernel.core_pattern=|/x',
  ]) {
    t.throws(() => checkSysctls(spec(key, 'ipc', 'uts')), /sysctl/, key);
  }
  const sys = new RecordingSyscalls();
  writeSysctls(sys, 9, { 'net.ipv4.ip_forward': '1' });
  t.same(sys.argumentsOf('openat2')[0]?.slice(0, 2), [9, 'sys/net/ipv4/ip_forward']);
  t.same(sys.openDescriptors(), []);
  t.end();
});
