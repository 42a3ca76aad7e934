/**
 * The program of the tests that fork: `node --single-threaded forking.js SCENARIO`. A scenario's result is printed as
 * one line of JSON by the parent; what a child found out comes back through a pipe.
 */
import { readFileSync, writeSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import * as constants from '../constants.ts';
import { reopenEventLoop, watchReadable } from '../event-loop.ts';
import { linux as sys } from '../linux.ts';
import { preload } from '../native.ts';
import { buildSeccompFilter } from '../seccomp/filter.ts';
import type { SeccompProfile } from '../seccomp/profile.ts';
import { SyscallError } from '../syscall-error.ts';
import type { WaitResult } from '../syscalls.ts';

const { AT_FDCWD, signals } = constants;

interface Outcome extends WaitResult {
  /** What the child returned, as JSON. */
  readonly found: unknown;
}

/** Runs `child` in a process made by `make` and waits for it. An error of the child is what it found. */
function inChild(make: () => number, child: () => unknown): Outcome {
  const { readEnd, writeEnd } = sys.pipe2(0);
  const pid = make();
  if (pid === 0) {
    let found: unknown;
    try {
      found = child();
    } catch (err) {
      found = { error: err instanceof Error ? err.message : String(err) };
    }
    writeSync(writeEnd, JSON.stringify(found ?? null));
    sys.exitNow(0);
  }
  sys.close(writeEnd);
  const text = readFileSync(readEnd, 'utf8');
  sys.close(readEnd);
  const result = sys.wait4(pid, constants.__WALL);
  if (result === undefined) throw new Error('wait4 without WNOHANG found nobody');
  return { ...result, found: text === '' ? undefined : JSON.parse(text) };
}

const fork = (): number => sys.fork();
const clone = (flags: number) => (): number => sys.clone(flags);
const attempt = (call: () => unknown): unknown => {
  try {
    return call() ?? 'ok';
  } catch (err) {
    return err instanceof SyscallError ? err.code : String(err);
  }
};
const statusLine = (name: string): string =>
  new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
const later = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** Executes a shell command in a fresh child and returns what it printed. */
function shell(prepare: () => void, command: string, env: readonly string[] = []): string {
  const { readEnd, writeEnd } = sys.pipe2(0);
  const pid = sys.fork();
  if (pid === 0) {
    try {
      prepare();
      sys.dup2(writeEnd, 1);
      sys.execve('/bin/sh', ['sh', '-c', command], env);
    } finally {
      sys.exitNow(99);
    }
  }
  sys.close(writeEnd);
  const text = readFileSync(readEnd, 'utf8');
  sys.close(readEnd);
  sys.wait4(pid, 0);
  return text.trim();
}

const garbage: unknown[] = [];

const scenarios: Readonly<Record<string, () => unknown>> = {
  exitCode() {
    const pid = sys.fork();
    if (pid === 0) sys.exitNow([1, 2, 39].map((n) => n).reduce((a, b) => a + b));
    const { exitStatus, signal } = sys.wait4(pid, 0) ?? {};
    return { exitStatus, signal, nobody: attempt(() => sys.wait4(-1, constants.WNOHANG)) };
  },

  /** The heap grows, is collected and moved between forks, while timers, sockets and file requests are under way. */
  async manyForks() {
    // Cut off at the end with bytes under way, which the other side may see as a reset.
    const server = createServer((echo) => echo.on('error', () => undefined).pipe(echo)).listen(0, '127.0.0.1');
    await later(5);
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const socket = connect(port, '127.0.0.1');
    let good = 0;
    for (let round = 0; round < 60; round++) {
      socket.write('x');
      garbage.push(
        Array.from({ length: 20_000 }, () => `round ${round}`),
        Buffer.alloc(300_000, round),
      );
      if (round % 7 === 0) garbage.length = 0;
      await later(0);
      const make = round % 2 === 0 ? fork : clone(constants.CLONE_NEWUTS);
      const outcome = inChild(make, () => {
        const made = new Map(Array.from({ length: 2000 }, (_, n) => [`key ${n}`, { n }]));
        return [...made.values()].reduce((sum, { n }) => sum + n, garbage.length * 0);
      });
      if (outcome.found === 1_999_000 && outcome.exitStatus === 0) good++;
    }
    socket.destroy();
    server.close();
    return { good };
  },

  namespaces() {
    const { CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS } = constants;
    const flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP;
    return inChild(clone(flags), () => {
      sys.sethostname('inner');
      sys.linkUp('lo');
      return {
        pid: sys.getpid(),
        hostname: readFileSync('/proc/sys/kernel/hostname', 'utf8').trim(),
        loopback: readFileSync('/proc/self/net/if_inet6', 'utf8').includes(' lo'),
      };
    });
  },

  userNamespace() {
    return inChild(clone(constants.CLONE_NEWUSER | constants.CLONE_NEWNS | constants.CLONE_NEWPID), () => ({
      pid: sys.getpid(),
      uid: readFileSync('/proc/self/status', 'utf8').match(/^Uid:\s+(\d+)/m)?.[1],
      capable: sys.capget().effective !== 0n,
    }));
  },

  /** argv[3] is a directory of cgroup v2. */
  intoCgroup() {
    const cgroup = sys.openat(AT_FDCWD, process.argv[3] ?? '', constants.O_DIRECTORY);
    return inChild(
      () => sys.clone(constants.CLONE_NEWUTS, cgroup),
      () =>
        readFileSync('/proc/self/cgroup', 'utf8')
          .split('\n')
          .find((line) => line.startsWith('0::')),
    );
  },

  sharedMemoryRefused: () => attempt(() => sys.clone(constants.CLONE_VM)),

  mounts() {
    return inChild(clone(constants.CLONE_NEWNS), () => {
      sys.mount(undefined, '/', undefined, constants.MS_REC | constants.MS_PRIVATE, undefined);
      const context = sys.fsopen('tmpfs');
      const wrong = attempt(() => sys.fsconfigString(context, 'no-such-option', '1'));
      const log = sys.readFsContextLog(context);
      sys.fsconfigString(context, 'size', '64k');
      sys.fsconfigString(context, 'mode', '0700');
      sys.fsconfigCreate(context);
      const mount = sys.fsmount(context, constants.MOUNT_ATTR_NOSUID);
      sys.moveMount(mount, '', AT_FDCWD, '/mnt', constants.MOVE_MOUNT_F_EMPTY_PATH);
      sys.mkdirat(AT_FDCWD, '/mnt/inside', 0o755);
      const tree = sys.openTree(AT_FDCWD, '/mnt', constants.OPEN_TREE_CLONE);
      sys.mountSetattr(tree, '', constants.AT_EMPTY_PATH, { set: constants.MOUNT_ATTR_RDONLY, clear: 0 });
      const names = sys.readDirectory(sys.openat(tree, '.', 0)).map(String);
      const readOnly = attempt(() => sys.mkdirat(tree, 'x', 0o755));
      const line = readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .find((l) => l.includes(' /mnt '));
      sys.chdir('/mnt');
      sys.pivotRoot('.', '.');
      sys.umount2('.', constants.MNT_DETACH);
      return { wrong, log, names, readOnly, line, cwd: sys.getcwd(), root: sys.fstatat(AT_FDCWD, '/', 0).mode };
    });
  },

  environment: () => ({
    output: shell(() => undefined, 'echo "$GREETING"; echo "$0"; env | wc -l', ['GREETING=grüß dich']),
    missing: attempt(() => sys.execve('/no/such/program', ['x'], [])),
    nul: attempt(() => sys.execve('/bin/true', ['a\0b'], [])),
  }),

  /** Far more than a native call's usual scratch memory. */
  largeArguments: () =>
    shell(() => undefined, `echo \${#BIG}`, [
      `BIG=${'b'.repeat(100_000)}`,
      ...Array.from({ length: 12 }, (_, n) => `A${n}=${'x'.repeat(100_000)}`),
    ]),

  signals() {
    process.on('SIGUSR1', () => undefined);
    const before = shell(() => sys.ignoreSignal(signals['SIGUSR2'] ?? 0, true), 'grep ^Sig[IB] /proc/self/status');
    const after = shell(() => {
      sys.ignoreSignal(signals['SIGUSR2'] ?? 0, true);
      sys.resetSignals();
    }, 'grep ^Sig[IB] /proc/self/status');
    return { before, after };
  },

  killed() {
    const pid = sys.fork();
    if (pid === 0) for (;;) sys.poll([], 1000);
    const pidfd = sys.pidfdOpen(pid);
    const running = sys.wait4(pid, constants.WNOHANG) === undefined;
    const quiet = sys.poll([{ fd: pidfd, events: constants.POLLIN }], 10)[0];
    sys.pidfdSendSignal(pidfd, signals['SIGTERM'] ?? 0);
    const readable = sys.poll([{ fd: pidfd, events: constants.POLLIN }], 5000)[0];
    const { exitStatus, signal } = sys.wait4(pid, 0) ?? {};
    const gone = attempt(() => sys.pidfdSendSignal(pidfd, 0));
    return { running, quiet, readable, exitStatus, signal, gone, killGone: attempt(() => sys.kill(pid, 0)) };
  },

  identity() {
    return inChild(fork, () => {
      sys.prctl(constants.PR_SET_KEEPCAPS, 1n);
      sys.setgroups([7, 4_000_000_000]);
      sys.setresgid(100, 100, 100);
      sys.setresuid(4_000_000_000, 4_000_000_000, 4_000_000_000);
      const kept = 1n << BigInt(constants.capabilityNumbers['CAP_CHECKPOINT_RESTORE'] ?? 0);
      sys.capset({ effective: kept, permitted: kept, inheritable: kept });
      sys.prctl(constants.PR_CAP_AMBIENT, BigInt(constants.PR_CAP_AMBIENT_RAISE), 40n);
      return {
        uid: statusLine('Uid'),
        gid: statusLine('Gid'),
        groups: statusLine('Groups').trim(),
        ambient: statusLine('CapAmb'),
        effective: sys.capget().effective.toString(16),
        back: attempt(() => sys.setresuid(0, 0, 0)),
        umask: [sys.umask(0o077), sys.umask(0o022)],
        noNewPrivileges: [
          sys.prctl(constants.PR_GET_NO_NEW_PRIVS),
          sys.prctl(constants.PR_SET_NO_NEW_PRIVS, 1n),
          sys.prctl(constants.PR_GET_NO_NEW_PRIVS),
        ],
      };
    });
  },

  limits() {
    return inChild(fork, () => {
      const number = constants.resourceLimits['RLIMIT_NOFILE'] ?? 0;
      sys.setResourceLimit(0, number, { soft: 100n, hard: 200n });
      const { soft, hard } = sys.getResourceLimit(0, number);
      const attr = Buffer.alloc(48);
      attr.writeUInt32LE(48);
      attr.writeUInt32LE(constants.SCHED_BATCH, 4);
      attr.writeInt32LE(5, 16);
      sys.schedSetattr(attr);
      sys.ioprioSet(constants.IOPRIO_WHO_PROCESS, 0, (constants.IOPRIO_CLASS_BE << constants.IOPRIO_CLASS_SHIFT) | 6);
      sys.personality(0n);
      return {
        limit: [Number(soft), Number(hard)],
        nice: readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ')[16],
        policy: /policy\s*:\s*(\d+)/.exec(readFileSync('/proc/self/sched', 'utf8'))?.[1],
        keyring: attempt(() => sys.joinSessionKeyring('gantry-test') > 0),
        session: sys.setsid() === sys.getpid(),
      };
    });
  },

  seccomp() {
    const refuse = (profile: SeccompProfile): ((child: () => unknown) => unknown) => {
      const program = buildSeccompFilter(profile);
      return (child) =>
        inChild(fork, () => {
          sys.prctl(constants.PR_SET_NO_NEW_PRIVS, 1n);
          sys.seccompSetFilter(0, program);
          return child();
        });
    };
    const rule = { names: ['mkdirat', 'mkdir', 'no_such_syscall'], action: 'SCMP_ACT_ERRNO', errnoRet: 63 };
    const personality = { names: ['personality'], action: 'SCMP_ACT_ERRNO', errnoRet: 62 };
    const persona = (value: bigint): unknown => attempt(() => sys.personality(value));
    const args = [
      { index: 0, value: 8, op: 'SCMP_CMP_EQ' },
      { index: 0, value: 0x20000, valueTwo: 0x20000, op: 'SCMP_CMP_MASKED_EQ' },
    ];
    return {
      denied: refuse({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] })(() =>
        attempt(() => sys.mkdirat(AT_FDCWD, '/proc/x', 0o700)),
      ),
      alternatives: refuse({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ ...personality, args }] })(() => [
        persona(8n),
        persona(0x20001n),
        persona(0n),
      ]),
      killed: refuse({
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['getpgid', 'personality'], action: 'SCMP_ACT_KILL_PROCESS' }],
      })(() => persona(0n)),
      newer: newerThanProfile(),
    };
  },

  async eventLoop() {
    preload();
    await later(1);
    const { readEnd, writeEnd } = sys.pipe2(0);
    const pid = sys.fork();
    if (pid === 0) {
      // From here on this is another process on the same stack: a new loop, then all that a shim does with it.
      reopenEventLoop();
      const events: string[] = [];
      const counter = sys.eventfd(1);
      const stop = watchReadable(counter, () => {
        events.push('eventfd');
        stop();
        sys.close(counter);
      });
      await later(5);
      const server = createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1');
      await later(5);
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      for await (const chunk of connect(port, '127.0.0.1')) events.push(String(chunk));
      writeSync(writeEnd, events.join(','));
      sys.exitNow(0);
    }
    sys.close(writeEnd);
    const events = readFileSync(readEnd, 'utf8');
    return { events, status: sys.wait4(pid, 0)?.exitStatus };
  },
};

/** A profile that knows nothing newer than `write` answers ENOSYS to what is, and its default to what is not. */
function newerThanProfile(): unknown {
  const allowed = ['read', 'write', 'close', 'exit_group', 'mmap', 'munmap', 'mprotect', 'madvise', 'brk', 'futex'];
  const program = buildSeccompFilter({
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 61,
    syscalls: [{ names: [...allowed, 'rt_sigprocmask', 'seccomp', 'gettid'], action: 'SCMP_ACT_ALLOW' }],
  });
  return inChild(fork, () => {
    preload();
    sys.prctl(constants.PR_SET_NO_NEW_PRIVS, 1n);
    sys.seccompSetFilter(0, program);
    return { newer: attempt(() => sys.pidfdOpen(1)), older: attempt(() => sys.umask(0) && sys.setsid()) };
  });
}

const scenario = scenarios[process.argv[2] ?? ''];
if (scenario === undefined) throw new Error(`there is no scenario ${process.argv[2]}`);
process.stdout.write(`${JSON.stringify(await scenario())}\n`);
