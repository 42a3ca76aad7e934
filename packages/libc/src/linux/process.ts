/** Making, replacing, ending, awaiting and signalling processes. */
import { readFileSync } from 'node:fs';
import { CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP, CLONE_PARENT, CLONE_VM, WNOHANG } from '../constants/clone.ts';
import { SIGCHLD, SIGNAL_MAX, signals } from '../constants/signals.ts';
import { heapSweep } from '../heap-sweep.ts';
import { addressOf, check, cString, declare, failure, interrupted, onPreload } from '../native.ts';
import { EINVAL } from '../errno.ts';
import { NR } from '../syscall-numbers.ts';
import type { ProcessCalls, WaitResult } from '../syscalls.ts';

const c = declare('glibc', {
  getpid: 'int getpid(void)',
  // pid_t fork(void)
  fork: 'int fork(void)',
  // void _exit(int status)
  _exit: 'void _exit(int status)',
  // pid_t wait4(pid_t pid, int *wstatus, int options, struct rusage *rusage); wstatus is ours, 4 bytes; rusage null
  wait4: 'int wait4(int pid, void *wstatus, int options, void *rusage)',
  kill: 'int kill(int pid, int sig)',
  setsid: 'int setsid(void)',
  setpgid: 'int setpgid(int pid, int pgid)',
  // int execve(const char *path, char *const argv[], char *const envp[]); the arrays and their strings are ours
  execve: 'int execve(const char *path, void *argv, void *envp)',
  // long syscall(SYS_gettid)
  gettid: 'long syscall(long nr)',
  // long syscall(SYS_clone, flags, stack, parent_tid, child_tid, tls): all pointers null
  clone: 'long syscall(long nr, ulong flags, void *stack, void *ptid, void *ctid, void *tls)',
  // long syscall(SYS_clone3, struct clone_args *args, size_t size); args is ours, 88 bytes
  clone3: 'long syscall(long nr, void *args, size_t size)',
  // long syscall(SYS_pidfd_open, pid_t pid, unsigned flags)
  pidfdOpen: 'long syscall(long nr, int pid, uint flags)',
  // long syscall(SYS_pidfd_send_signal, int pidfd, int sig, siginfo_t *info, unsigned flags); info null
  pidfdSendSignal: 'long syscall(long nr, int pidfd, int sig, void *info, uint flags)',
  // long syscall(SYS_rt_sigaction, int sig, const struct sigaction *act, struct sigaction *old, size_t sigsetsize)
  sigaction: 'long syscall(long nr, int sig, void *act, void *old, size_t size)',
  // long syscall(SYS_rt_sigprocmask, int how, const sigset_t *set, sigset_t *old, size_t sigsetsize)
  sigprocmask: 'long syscall(long nr, int how, void *set, void *old, size_t size)',
});

const SIG_SETMASK = 2;
const SIGSET_BYTES = 8;
const status = Buffer.alloc(4);
/** The kernel's struct sigaction: handler, flags, restorer, mask. All zero is SIG_DFL; handler 1 is SIG_IGN. */
const defaultAction = Buffer.alloc(32);
const ignoreAction = Buffer.alloc(32);
ignoreAction.writeUInt8(1);
const emptySignalSet = Buffer.alloc(SIGSET_BYTES);

function setAction(signal: number, action: Buffer): void {
  check(c.sigaction(NR.rt_sigaction, signal, action, null, SIGSET_BYTES), 'rt_sigaction', `signal ${signal}`);
}

/** A NULL-terminated array of C strings in two Buffers; both must be held until the call that reads them. */
function stringArray(values: readonly string[]): { readonly strings: Buffer; readonly pointers: Buffer } {
  const encoded = values.map((value) => Buffer.from(`${cString(value, 'execve') as string}\0`));
  const strings = Buffer.concat([...encoded, Buffer.alloc(1)]);
  const pointers = Buffer.alloc((values.length + 1) * 8);
  let address = addressOf(strings);
  for (const [index, bytes] of encoded.entries()) {
    pointers.writeBigUInt64LE(address, index * 8);
    address += BigInt(bytes.length);
  }
  return { strings, pointers };
}

function waitResult(pid: number): WaitResult {
  const value = status.readInt32LE();
  const signal = value & 0x7f;
  return { pid, signal, exitStatus: signal === 0 ? (value >> 8) & 0xff : 128 + signal };
}

/**
 * The signals that this process ignores. Only these pass through execve (signal(7)), so only these have to be reset in
 * a child whose handlers the kernel has cleared. Read once: afterwards nothing but `ignoreSignal` makes a signal
 * ignored; libuv installs handlers and takes them away to the default.
 */
let ignoredSignals: Set<number> | undefined;

function knownIgnored(): Set<number> {
  if (ignoredSignals === undefined) {
    const mask = BigInt(
      `0x${/^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'}`,
    );
    ignoredSignals = new Set();
    for (let signal = 1; signal <= SIGNAL_MAX; signal++) {
      if (((mask >> BigInt(signal - 1)) & 1n) !== 0n) ignoredSignals.add(signal);
    }
  }
  return ignoredSignals;
}
onPreload(() => void knownIgnored());

/** In a child made by `clone`: the kernel has set every handled signal back to its default. */
let handlersAreCleared = false;

/** The kernel's SIGRTMIN; glibc keeps the first two for itself (signal(7)). */
const FIRST_REALTIME_SIGNAL = 32;

let hasForked = false;

/**
 * The last thing before a fork. Nothing may be allocated between the sweep and the system call: a page that V8 maps in
 * between is MADV_DONTFORK again, and the child dies at its first look at it. So the callers have every function and
 * argument at hand, and the first time the sweep runs twice: the first run compiles and resolves what the second one
 * needs.
 */
function readyToFork(): void {
  // The child must find what it will leave by even when nothing else was ever used.
  void c._exit;
  heapSweep();
  if (hasForked) return;
  hasForked = true;
  heapSweep();
}

/** struct clone_args: flags 0, exit_signal 32, cgroup 80; no stack of its own, as with fork. */
const cloneArguments = Buffer.alloc(88);

/** The kernel clears the child's signal handlers (Linux 5.5), which would act on the parent's event loop. */
function cloneCleared(flags: number, cgroupFd: number | undefined): number {
  const args = cloneArguments;
  const into = cgroupFd === undefined ? 0n : CLONE_INTO_CGROUP;
  args.writeBigUInt64LE(BigInt(flags) | CLONE_CLEAR_SIGHAND | into, 0);
  args.writeUInt32LE(SIGCHLD, 32);
  args.writeUInt32LE(cgroupFd ?? 0, 80);
  const { clone3 } = c;
  knownIgnored();
  readyToFork();
  const pid = clone3(NR.clone3, args, args.length);
  if (pid === 0) handlersAreCleared = true;
  return pid;
}

export const processCalls: Pick<
  ProcessCalls,
  | 'getpid'
  | 'gettid'
  | 'fork'
  | 'clone'
  | 'execve'
  | 'exitNow'
  | 'wait4'
  | 'kill'
  | 'pidfdOpen'
  | 'pidfdSendSignal'
  | 'setsid'
  | 'setpgid'
  | 'resetSignals'
  | 'resetInheritedSignals'
  | 'ignoreSignal'
> = {
  getpid: () => c.getpid(),
  gettid: () => c.gettid(NR.gettid),

  fork() {
    const { fork } = c;
    readyToFork();
    return check(fork(), 'fork', '');
  },

  clone(flags, cgroupFd) {
    const all = flags >>> 0;
    // With shared memory and no stack of its own the child would overwrite its parent's.
    if ((all & CLONE_VM) !== 0) throw failure('clone', EINVAL, 'CLONE_VM');
    const subject = `flags 0x${all.toString(16)}`;
    if ((all & CLONE_PARENT) === 0) return check(cloneCleared(all, cgroupFd), 'clone3', subject);
    // clone3(2) has no exit signal for a sibling.
    const { clone } = c;
    const withSignal = all + SIGCHLD;
    readyToFork();
    return check(clone(NR.clone, withSignal, null, null, null, null), 'clone', subject);
  },

  execve(path, argv, env) {
    const args = stringArray(argv);
    const environment = stringArray(env);
    const result = c.execve(cString(path, 'execve'), args.pointers, environment.pointers);
    check(result, 'execve', path);
    // Naming the strings here keeps them from being collected while only their addresses are known.
    throw new Error(`unreachable: execve returned, ${args.strings.length + environment.strings.length} bytes`);
  },

  exitNow(code) {
    c._exit(code & 0xff);
    throw new Error('unreachable: _exit returned');
  },

  wait4(pid, options) {
    let result: number;
    do result = c.wait4(pid, status, options, null);
    while (interrupted(result));
    check(result, 'wait4', `pid ${pid}`);
    return result === 0 && (options & WNOHANG) !== 0 ? undefined : waitResult(result);
  },

  kill(pid, signal) {
    check(c.kill(pid, signal), 'kill', `pid ${pid}`);
  },

  pidfdOpen: (pid) => check(c.pidfdOpen(NR.pidfd_open, pid, 0), 'pidfd_open', `pid ${pid}`),

  pidfdSendSignal(pidfd, signal) {
    check(c.pidfdSendSignal(NR.pidfd_send_signal, pidfd, signal, null, 0), 'pidfd_send_signal', pidfd);
  },

  setsid: () => check(c.setsid(), 'setsid', ''),

  setpgid(pid, pgid) {
    check(c.setpgid(pid, pgid), 'setpgid', `pid ${pid}`);
  },

  resetSignals() {
    // By system call and not by glibc's function, which refuses the two signals it keeps for itself (32, 33); an
    // inherited SIG_IGN on them would pass through execve.
    if (handlersAreCleared) {
      for (const signal of knownIgnored()) setAction(signal, defaultAction);
    } else {
      for (let signal = 1; signal <= SIGNAL_MAX; signal++) {
        if (signal !== signals['SIGKILL'] && signal !== signals['SIGSTOP']) setAction(signal, defaultAction);
      }
    }
    knownIgnored().clear();
    check(c.sigprocmask(NR.rt_sigprocmask, SIG_SETMASK, emptySignalSet, null, SIGSET_BYTES), 'rt_sigprocmask', '');
  },

  resetInheritedSignals() {
    for (const signal of [...knownIgnored()].filter((known) => known >= FIRST_REALTIME_SIGNAL)) {
      setAction(signal, defaultAction);
      knownIgnored().delete(signal);
    }
  },

  ignoreSignal(signal, ignore) {
    setAction(signal, ignore ? ignoreAction : defaultAction);
    if (ignore) knownIgnored().add(signal);
    else knownIgnored().delete(signal);
  },
};
