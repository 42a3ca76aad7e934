/**
 * A fake kernel for unit tests: it records every call in order, answers with something plausible, and does as it is
 * scripted. It knows which descriptors it has handed out, so that a test can assert that none was leaked.
 *
 *     const sys = new RecordingSyscalls();
 *     sys.answer('getpid', 1);
 *     sys.fail('moveMount', 2, 'EBUSY');          // the second move_mount fails
 *     assembleRootfs(sys, spec);
 *     t.match(sys.calls, [['fsopen', 'overlay'], …]);
 *     t.same(sys.openDescriptors(), []);
 */
import { errnoDescription, errnoName, errnoNumber } from './errno.ts';
import { SyscallError } from './syscall-error.ts';
import type { FileStat, Syscalls } from './syscalls.ts';

type Name = keyof Syscalls;
type Arguments<K extends Name> = Parameters<Syscalls[K]>;
type Result<K extends Name> = ReturnType<Syscalls[K]>;

/** One recorded call: its name, then its arguments as they were. */
export type RecordedCall = { [K in Name]: readonly [name: K, ...args: Arguments<K>] }[Name];

/** Thrown by `execve` and `exitNow` of the fake, where the real process would be gone. */
export class ProcessGone extends Error {
  override readonly name = 'ProcessGone';
  /** The status of `exitNow`; undefined after `execve`. */
  readonly exitStatus: number | undefined;

  constructor(exitStatus: number | undefined) {
    super(exitStatus === undefined ? 'the process called execve' : `the process ended with status ${exitStatus}`);
    this.exitStatus = exitStatus;
  }
}

/** A descriptor the fake handed out, and the call it came from. */
export interface OpenDescriptor {
  readonly fd: number;
  readonly from: Name;
}

const FIRST_DESCRIPTOR = 100;
const FIRST_PID = 1000;
/** BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_OBJ_GET, BPF_PROG_GET_FD_BY_ID. */
const bpfCommandsThatOpen: readonly number[] = [0, 5, 7, 13];

const emptyStat: FileStat = {
  dev: 0n,
  ino: 1n,
  mode: 0o100644,
  nlink: 1,
  uid: 0,
  gid: 0,
  rdev: 0n,
  size: 0n,
  blocks: 0n,
  atimeNs: 0n,
  mtimeNs: 0n,
  ctimeNs: 0n,
};

/** What the fake keeps between calls. */
class FakeKernel {
  readonly open = new Map<number, Name>();
  #nextDescriptor = FIRST_DESCRIPTOR;
  #nextPid = FIRST_PID;

  handOut(from: Name): number {
    const fd = this.#nextDescriptor++;
    this.open.set(fd, from);
    return fd;
  }

  takeBack(fd: number): void {
    if (!this.open.delete(fd) && fd >= FIRST_DESCRIPTOR) throw scriptedFailure('close', 'EBADF', `fd ${fd}`);
  }

  newPid(): number {
    return this.#nextPid++;
  }
}

type Defaults = { readonly [K in Name]: (kernel: FakeKernel, ...args: Arguments<K>) => Result<K> };

const nothing = (): void => undefined;
const zero = (): number => 0;
const yes = (): boolean => true;

/** The answers to calls nobody scripted. The mapped type makes a missing or misspelt one a compile error. */
const defaults: Defaults = {
  getpid: () => FIRST_PID - 1,
  gettid: () => FIRST_PID - 1,
  fork: (kernel) => kernel.newPid(),
  clone: (kernel) => kernel.newPid(),
  execve: () => {
    throw new ProcessGone(undefined);
  },
  exitNow: (_, status) => {
    throw new ProcessGone(status);
  },
  wait4: (_, pid) => ({ pid: pid > 0 ? pid : FIRST_PID, exitStatus: 0, signal: 0 }),
  kill: nothing,
  pidfdOpen: (kernel) => kernel.handOut('pidfdOpen'),
  pidfdSendSignal: nothing,
  pidfdGetfd: (kernel) => kernel.handOut('pidfdGetfd'),
  setsid: () => FIRST_PID - 1,
  setpgid: nothing,
  resetSignals: nothing,
  resetInheritedSignals: nothing,
  ignoreSignal: nothing,
  prctl: zero,
  umask: () => 0o022,
  setgroups: nothing,
  setresuid: nothing,
  setresgid: nothing,
  capget: () => ({ effective: 0n, permitted: 0n, inheritable: 0n }),
  capset: nothing,
  setResourceLimit: nothing,
  getResourceLimit: () => ({ soft: 1024n, hard: 4096n }),
  personality: nothing,
  joinSessionKeyring: () => 1,
  schedSetattr: nothing,
  ioprioSet: nothing,
  schedSetaffinity: nothing,
  setMempolicy: nothing,
  seccompSetFilter: zero,
  unshare: nothing,
  setns: nothing,
  sethostname: nothing,
  setdomainname: nothing,
  chdir: nothing,
  fchdir: nothing,
  chroot: nothing,
  getcwd: () => '/',
  pivotRoot: nothing,
  mount: nothing,
  umount2: nothing,
  fsopen: (kernel) => kernel.handOut('fsopen'),
  fsconfigString: nothing,
  fsconfigFlag: nothing,
  fsconfigFd: nothing,
  fsconfigCreate: nothing,
  fspick: (kernel) => kernel.handOut('fspick'),
  fsconfigReconfigure: nothing,
  fsmount: (kernel) => kernel.handOut('fsmount'),
  openTree: (kernel) => kernel.handOut('openTree'),
  moveMount: nothing,
  mountSetattr: nothing,
  readFsContextLog: () => '',
  openat: (kernel) => kernel.handOut('openat'),
  openatIfPresent: (kernel) => kernel.handOut('openatIfPresent'),
  openat2: (kernel) => kernel.handOut('openat2'),
  openat2IfPresent: (kernel) => kernel.handOut('openat2IfPresent'),
  close: (kernel, fd) => kernel.takeBack(fd),
  closeRange: (kernel, first, last, flags) => {
    if (flags !== 0) return;
    for (const fd of kernel.open.keys()) if (fd >= first && fd <= last) kernel.open.delete(fd);
  },
  dup2: nothing,
  lock: yes,
  dup: (kernel) => kernel.handOut('dup'),
  setCloseOnExec: nothing,
  setNonBlocking: nothing,
  read: zero,
  write: (_, __, from, offset = 0, length = from.length - offset) => length,
  pipe2: (kernel) => ({ readEnd: kernel.handOut('pipe2'), writeEnd: kernel.handOut('pipe2') }),
  fstat: () => emptyStat,
  fstatat: () => emptyStat,
  fstatatIfPresent: () => emptyStat,
  fstatfs: () => ({ type: 0, blockSizeBytes: 4096n, blocksFree: 0n, blocksAvailable: 0n, blocks: 0n }),
  mkdirat: nothing,
  mkdiratIfAbsent: yes,
  mknodat: nothing,
  symlinkat: nothing,
  symlinkatIfAbsent: yes,
  linkat: nothing,
  unlinkat: nothing,
  renameat: nothing,
  readlinkat: () => Buffer.alloc(0),
  fchownat: nothing,
  fchmod: nothing,
  fchmodat: nothing,
  utimensat: nothing,
  seek: nothing,
  seekData: () => undefined,
  ftruncate: nothing,
  fsync: nothing,
  syncfs: nothing,
  fadvise: nothing,
  readDirectory: () => [],
  fsetxattr: nothing,
  fgetxattr: () => undefined,
  flistxattr: () => [],
  lsetxattr: nothing,
  lgetxattr: () => undefined,
  llistxattr: () => [],
  socketpair: (kernel) => [kernel.handOut('socketpair'), kernel.handOut('socketpair')],
  sendMessage: (_, __, data) => data.length,
  receiveMessage: () => ({ data: Buffer.alloc(0), fds: [] }),
  connectUnix: (kernel) => kernel.handOut('connectUnix'),
  listenUnix: (kernel) => kernel.handOut('listenUnix'),
  accept: (kernel) => kernel.handOut('accept'),
  poll: (_, entries) => entries.map(({ events }) => events),
  eventfd: (kernel) => kernel.handOut('eventfd'),
  inotifyInit: (kernel) => kernel.handOut('inotifyInit'),
  inotifyAddWatch: () => 1,
  openPty: (kernel) => ({ master: kernel.handOut('openPty'), slave: kernel.handOut('openPty'), number: 0 }),
  setTerminalSize: nothing,
  getTerminalSize: () => ({ columns: 80, rows: 24 }),
  setControllingTerminal: nothing,
  isTerminal: () => false,
  makeRaw: () => Buffer.alloc(36),
  restoreTerminal: nothing,
  routeSocket: (kernel) => kernel.handOut('routeSocket'),
  linkUp: nothing,
  bpf: (kernel, command) => (bpfCommandsThatOpen.includes(command) ? kernel.handOut('bpf') : 0),
  getrandom: (_, bytes) => Buffer.alloc(bytes, 0x5a),
  peerCredentials: () => ({ pid: FIRST_PID, uid: 0, gid: 0 }),
};

function scriptedFailure(name: string, code: string, subject: string): SyscallError {
  const errno = errnoNumber(code);
  if (errno === undefined) throw new TypeError(`${code} is no errno name`);
  return new SyscallError(name, errno, errnoName(errno), errnoDescription(errno), subject);
}

/** What a script makes of one call; undefined when it has nothing to say about it. */
type Scripted = ((call: RecordedCall, count: number) => { readonly value: unknown } | undefined)[];

/** A constructor of objects that have every system call as a method; the methods are put on its prototype below. */
const Methods = function Methods() {} as unknown as new () => Syscalls;

/** See the head of this file. Every method records; `answer`, `play` and `fail` script, later scripts first. */
export class RecordingSyscalls extends Methods {
  /** Every call so far, in order, failed ones included. */
  readonly calls: RecordedCall[] = [];
  readonly #kernel = new FakeKernel();
  readonly #scripts = new Map<Name, Scripted>();
  readonly #counts = new Map<Name, number>();

  /** Every call of `name` returns `value`. */
  answer<K extends Name>(name: K, value: Result<K>): this {
    return this.#script(name, () => ({ value }));
  }

  /** Calls of `name` are answered by a function of their arguments, which may throw. */
  play<K extends Name>(name: K, answer: (...args: Arguments<K>) => Result<K>): this {
    return this.#script(name, ([, ...args]) => ({ value: answer(...(args as Arguments<K>)) }));
  }

  /** The first calls of `name` return these values in turn; later ones what they would without this. */
  answerInTurn<K extends Name>(name: K, ...values: readonly Result<K>[]): this {
    const first = this.#counts.get(name) ?? 0;
    return this.#script(name, (_, count) => {
      const index = count - first - 1;
      return index < values.length ? { value: values[index] } : undefined;
    });
  }

  /** The `nth` call of `name` from the start (1 is the first) fails with this errno name, e.g. `EBUSY`. */
  fail(name: Name, nth: number, code: string): this {
    return this.#script(name, (call, count) => {
      if (count === nth) throw scriptedFailure(name, code, String(call[1] ?? ''));
      return undefined;
    });
  }

  /** The names of the calls, in order. */
  names(): Name[] {
    return this.calls.map(([name]) => name);
  }

  /** The arguments of every call of one name, in order. */
  argumentsOf<K extends Name>(name: K): Arguments<K>[] {
    return this.calls.filter((call) => call[0] === name).map(([, ...args]) => args as Arguments<K>);
  }

  /** What was handed out and not closed. */
  openDescriptors(): OpenDescriptor[] {
    return [...this.#kernel.open].map(([fd, from]) => ({ fd, from }));
  }

  #script(name: Name, script: Scripted[number]): this {
    this.#scripts.set(name, [script, ...(this.#scripts.get(name) ?? [])]);
    return this;
  }

  /** Called by every generated method. */
  protected record(name: Name, args: readonly unknown[]): unknown {
    const call = [name, ...args] as unknown as RecordedCall;
    this.calls.push(call);
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    for (const script of this.#scripts.get(name) ?? []) {
      const answer = script(call, count);
      if (answer !== undefined) return answer.value;
    }
    const byDefault = defaults[name] as (kernel: FakeKernel, ...args: readonly unknown[]) => unknown;
    return byDefault(this.#kernel, ...args);
  }

  static {
    for (const name of Object.keys(defaults) as Name[]) {
      Object.defineProperty(Methods.prototype, name, {
        value(this: RecordingSyscalls, ...args: readonly unknown[]) {
          return this.record(name, args);
        },
        writable: true,
        configurable: true,
      });
    }
  }
}
