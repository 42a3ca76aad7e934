/**
 * The seam to the kernel: every system call the product makes outside of Node's own API, as one interface.
 *
 * `linux.ts` is the real thing (koffi on glibc); `recorder.ts` records the calls and plays back answers, so that the
 * order of operations of a container's start can be tested without root.
 *
 * Rules that hold for every method:
 * - synchronous, on the calling thread; throws `SyscallError`; retries EINTR itself except where said otherwise;
 * - a descriptor it returns is close-on-exec and belongs to the caller;
 * - a path is a JavaScript string, or a Buffer where the kernel's bytes need not be UTF-8;
 * - `dirfd` may be `AT_FDCWD` (constants.ts).
 */

export type Path = string | Buffer;

/** What `wait4` reports of one child. */
export interface WaitResult {
  readonly pid: number;
  /** The exit code, or 128 + signal when it was killed. */
  readonly exitStatus: number;
  /** The signal that ended it, 0 when it exited. */
  readonly signal: number;
}

/** The part of `struct stat` the product looks at. Times are nanoseconds since the epoch. */
export interface FileStat {
  readonly dev: bigint;
  readonly ino: bigint;
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Device number of a device node; see `major` and `minor` in devices.ts. */
  readonly rdev: bigint;
  readonly size: bigint;
  /** 512-byte blocks. */
  readonly blocks: bigint;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/** `struct open_how` of openat2(2). */
export interface OpenHow {
  readonly flags: number;
  readonly mode?: number;
  /** RESOLVE_* bits. */
  readonly resolve: number;
}

/** `struct mount_attr` of mount_setattr(2). */
export interface MountAttributes {
  readonly set: number;
  readonly clear: number;
  /** MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE or 0 for no change. */
  readonly propagation?: number;
  /** For MOUNT_ATTR_IDMAP. */
  readonly userNamespaceFd?: number;
}

/** One capability set as a bit mask; bit n is capability number n. */
export interface CapabilitySets {
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
}

export interface ResourceLimit {
  /** RLIM_INFINITY is 2^64 - 1. */
  readonly soft: bigint;
  readonly hard: bigint;
}

export interface PollEntry {
  readonly fd: number;
  /** POLLIN, POLLOUT … */
  readonly events: number;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** A received message with the descriptors that came with it (SCM_RIGHTS). */
export interface ReceivedMessage {
  readonly data: Buffer;
  readonly fds: number[];
}

export interface FileSystemStat {
  /** f_type: the magic number, e.g. PROC_SUPER_MAGIC. */
  readonly type: number;
  readonly blockSizeBytes: bigint;
  readonly blocksFree: bigint;
  readonly blocksAvailable: bigint;
  readonly blocks: bigint;
}

/** Processes and identity. */
export interface ProcessCalls {
  getpid(): number;
  gettid(): number;
  /**
   * fork(2) of this single-threaded Node process. Undoes V8's MADV_DONTFORK first. Returns 0 in the child, which must
   * leave by `exitNow` or `execve` only, and which shares every open descriptor and libuv handle with its parent.
   */
  fork(): number;
  /**
   * clone(2) without CLONE_VM and without a new stack: like `fork`, with namespaces (CLONE_NEW*) or CLONE_PARENT in
   * `flags`; SIGCHLD is added. The same rules as for `fork` hold in the child. With `cgroupFd`, a directory of cgroup v2,
   * the child is born in that cgroup (clone3(2), CLONE_INTO_CGROUP).
   */
  clone(flags: number, cgroupFd?: number): number;
  /** execve(2); returns only by throwing. */
  execve(path: string, argv: readonly string[], env: readonly string[]): never;
  /** _exit(2): no handlers, no flushing. */
  exitNow(status: number): never;
  /** wait4(2); undefined when WNOHANG is given and nobody has changed state. Throws ECHILD. */
  wait4(pid: number, options: number): WaitResult | undefined;
  kill(pid: number, signal: number): void;
  pidfdOpen(pid: number): number;
  pidfdSendSignal(pidfd: number, signal: number): void;
  /** pidfd_getfd(2): a copy of another process's descriptor. */
  pidfdGetfd(pidfd: number, fd: number): number;
  setsid(): number;
  setpgid(pid: number, pgid: number): void;
  /** Resets every signal's disposition to the default and unblocks all: what a container's process starts with. */
  resetSignals(): void;
  /**
   * Resets the real-time signals that whoever started this process ignored (make does so with 32 and 33, as glibc's
   * posix_spawn leaves them). The others Node resets itself.
   */
  resetInheritedSignals(): void;
  /** Ignores (true) or resets to default (false) one signal. */
  ignoreSignal(signal: number, ignore: boolean): void;
  prctl(option: number, arg2?: bigint, arg3?: bigint, arg4?: bigint, arg5?: bigint): number;
  umask(mask: number): number;
  setgroups(gids: readonly number[]): void;
  setresuid(real: number, effective: number, saved: number): void;
  setresgid(real: number, effective: number, saved: number): void;
  capget(): CapabilitySets;
  capset(sets: CapabilitySets): void;
  /** prlimit(2) on `pid` (0 is the caller); `resource` is a RLIMIT_* number. */
  setResourceLimit(pid: number, resource: number, limit: ResourceLimit): void;
  getResourceLimit(pid: number, resource: number): ResourceLimit;
  personality(persona: bigint): void;
  /** Joins a new anonymous-named session keyring (keyctl KEYCTL_JOIN_SESSION_KEYRING). */
  joinSessionKeyring(name: string): number;
  /** sched_setattr(2) of the caller; `attr` is the raw struct. */
  schedSetattr(attr: Buffer): void;
  ioprioSet(which: number, who: number, priority: number): void;
  /** sched_setaffinity(2); bit n of `mask` is CPU n, 0 is the caller. */
  schedSetaffinity(pid: number, mask: Buffer): void;
  /** set_mempolicy(2) of the caller; bit n of `nodes` is node n, `mode` holds the flags too. */
  setMempolicy(mode: number, nodes: Buffer): void;
  /** seccomp(SECCOMP_SET_MODE_FILTER); `program` is an array of struct sock_filter. Returns the listener fd or 0. */
  seccompSetFilter(flags: number, program: Buffer): number;
}

/** Namespaces, host identity and the mount tree. */
export interface MountCalls {
  unshare(flags: number): void;
  /** setns(2); `fd` is a namespace or, with several bits in `nstype`, a pidfd. */
  setns(fd: number, nstype: number): void;
  sethostname(name: string): void;
  setdomainname(name: string): void;
  chdir(path: Path): void;
  fchdir(fd: number): void;
  chroot(path: string): void;
  getcwd(): string;
  pivotRoot(newRoot: string, putOld: string): void;
  mount(
    source: string | undefined,
    target: string,
    type: string | undefined,
    flags: number,
    data: string | undefined,
  ): void;
  umount2(target: string, flags: number): void;
  fsopen(type: string): number;
  fsconfigString(fd: number, key: string, value: string): void;
  fsconfigFlag(fd: number, key: string): void;
  fsconfigFd(fd: number, key: string, value: number): void;
  fsconfigCreate(fd: number): void;
  /** fspick(2) of the file system whose mount `fd` is the root of: a context for changing it. */
  fspick(fd: number): number;
  fsconfigReconfigure(fd: number): void;
  /** fsmount(2); `attributes` are MOUNT_ATTR_* bits. Returns a descriptor of the detached mount. */
  fsmount(fd: number, attributes: number): number;
  /** open_tree(2); OPEN_TREE_CLOEXEC is added. */
  openTree(dirfd: number, path: Path, flags: number): number;
  moveMount(fromFd: number, fromPath: Path, toFd: number, toPath: Path, flags: number): void;
  mountSetattr(dirfd: number, path: Path, flags: number, attributes: MountAttributes): void;
  /** The messages the kernel left in an fsopen context, for error texts. Empty when there are none. */
  readFsContextLog(fd: number): string;
}

/** Files by descriptor. */
export interface FileCalls {
  /** openat(2); O_CLOEXEC is added. */
  openat(dirfd: number, path: Path, flags: number, mode?: number): number;
  /** openat2(2); O_CLOEXEC is added. Retries EAGAIN a bounded number of times. */
  openat2(dirfd: number, path: Path, how: OpenHow): number;
  /** As `openat`; undefined when there is nothing of that name (ENOENT, ENOTDIR). An error object is not for free. */
  openatIfPresent(dirfd: number, path: Path, flags: number): number | undefined;
  /** As `openat2`; undefined when there is nothing of that name (ENOENT, ENOTDIR). */
  openat2IfPresent(dirfd: number, path: Path, how: OpenHow): number | undefined;
  close(fd: number): void;
  /** close_range(2); CLOSE_RANGE_CLOEXEC in `flags` marks instead of closing. `last` ≤ 2^32 - 1. */
  closeRange(first: number, last: number, flags: number): void;
  /** dup2(2): the new descriptor is not close-on-exec. */
  dup2(from: number, to: number): void;
  /** flock(2) for the whole file: takes (exclusively) or lets go. False when somebody else has it; never waits. */
  lock(fd: number, taken: boolean): boolean;
  /** fcntl(F_DUPFD_CLOEXEC). */
  dup(fd: number, minimum?: number): number;
  setCloseOnExec(fd: number, closeOnExec: boolean): void;
  setNonBlocking(fd: number, nonBlocking: boolean): void;
  /** Bytes read, 0 at the end; undefined on EAGAIN. */
  read(fd: number, into: Buffer, offset?: number, length?: number): number | undefined;
  /** Bytes written; undefined on EAGAIN. */
  write(fd: number, from: Buffer, offset?: number, length?: number): number | undefined;
  pipe2(flags: number): { readonly readEnd: number; readonly writeEnd: number };
  fstat(fd: number): FileStat;
  /** fstatat(2); `flags` may hold AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH. */
  fstatat(dirfd: number, path: Path, flags: number): FileStat;
  /** As `fstatat`; undefined when there is nothing of that name (ENOENT, ENOTDIR). */
  fstatatIfPresent(dirfd: number, path: Path, flags: number): FileStat | undefined;
  fstatfs(fd: number): FileSystemStat;
  mkdirat(dirfd: number, path: Path, mode: number): void;
  /** As `mkdirat`; false when something of that name is there already (EEXIST). */
  mkdiratIfAbsent(dirfd: number, path: Path, mode: number): boolean;
  mknodat(dirfd: number, path: Path, mode: number, device: bigint): void;
  symlinkat(target: Path, dirfd: number, path: Path): void;
  /** As `symlinkat`; false when something of that name is there already (EEXIST). */
  symlinkatIfAbsent(target: Path, dirfd: number, path: Path): boolean;
  linkat(fromFd: number, from: Path, toFd: number, to: Path, flags: number): void;
  unlinkat(dirfd: number, path: Path, flags: number): void;
  renameat(fromFd: number, from: Path, toFd: number, to: Path): void;
  readlinkat(dirfd: number, path: Path): Buffer;
  fchownat(dirfd: number, path: Path, uid: number, gid: number, flags: number): void;
  fchmod(fd: number, mode: number): void;
  fchmodat(dirfd: number, path: Path, mode: number): void;
  /** utimensat(2) with nanoseconds since the epoch; undefined leaves that time as it is. */
  utimensat(dirfd: number, path: Path, atimeNs: bigint | undefined, mtimeNs: bigint | undefined, flags: number): void;
  /** lseek(2) from the start of the file. */
  seek(fd: number, offset: bigint): void;
  /** lseek(2) to where the next data is, from `offset` on (SEEK_DATA); undefined when only a hole follows. */
  seekData(fd: number, offset: bigint): bigint | undefined;
  ftruncate(fd: number, sizeBytes: bigint): void;
  fsync(fd: number): void;
  syncfs(fd: number): void;
  /** posix_fadvise(2): what will be read of a file, or no more (`POSIX_FADV_*`). Advice does not fail. */
  fadvise(fd: number, offset: bigint, length: bigint, advice: number): void;
  /** The names in a directory without `.` and `..`, as bytes (getdents64). `fd` must be open for reading. */
  readDirectory(fd: number): Buffer[];
  /** Extended attributes of the open file or, through `/proc/self/fd`, of an O_PATH descriptor. */
  fsetxattr(fd: number, name: string, value: Buffer, flags: number): void;
  fgetxattr(fd: number, name: string): Buffer | undefined;
  flistxattr(fd: number): string[];
  /** The l…xattr calls by path: they never follow a symlink in the last component. */
  lsetxattr(path: Path, name: string, value: Buffer, flags: number): void;
  lgetxattr(path: Path, name: string): Buffer | undefined;
  llistxattr(path: Path): string[];
}

/** Sockets, terminals and readiness. */
export interface ChannelCalls {
  /** socketpair(AF_UNIX, type | SOCK_CLOEXEC). */
  socketpair(type: number): readonly [number, number];
  /** One sendmsg(2) with up to 16 descriptors; `data` must not be empty. Throws EAGAIN on a full non-blocking socket. */
  sendMessage(fd: number, data: Buffer, fds: readonly number[]): number;
  /** One recvmsg(2); received descriptors are close-on-exec. Empty data at end of file; undefined on EAGAIN. */
  receiveMessage(fd: number, maxBytes: number): ReceivedMessage | undefined;
  /** Blocking connect(2) to a unix socket by path; a stream socket unless `type` says otherwise. */
  connectUnix(path: string, type?: number): number;
  /** bind(2) and, unless it is a datagram socket, listen(2) of a new unix socket; the path (at most 107 bytes) must not exist. */
  listenUnix(path: string, type: number): number;
  /** A socket to the kernel's routing tables (rtnetlink(7)) of the current network namespace. */
  routeSocket(): number;
  /** Blocking accept(2). */
  accept(fd: number): number;
  /** poll(2): the revents in the order of `entries`; all 0 when the time is over. EINTR is not retried past timeout. */
  poll(entries: readonly PollEntry[], timeoutMs: number): number[];
  eventfd(initial: number): number;
  inotifyInit(): number;
  inotifyAddWatch(fd: number, path: string, mask: number): number;
  /** Opens /dev/ptmx below `devFd` (AT_FDCWD: the host's), unlocks it; the slave is opened by TIOCGPTPEER. */
  openPty(ptmxPath?: string): { readonly master: number; readonly slave: number; readonly number: number };
  setTerminalSize(fd: number, size: TerminalSize): void;
  getTerminalSize(fd: number): TerminalSize;
  /** TIOCSCTTY: makes the terminal the controlling one of this session. */
  setControllingTerminal(fd: number): void;
  isTerminal(fd: number): boolean;
  /** Puts the terminal into raw mode; returns the earlier state (struct termios) for `restoreTerminal`. */
  makeRaw(fd: number): Buffer;
  restoreTerminal(fd: number, state: Buffer): void;
  /** Brings a link up (`lo`) in the current network namespace. */
  linkUp(name: string): void;
  /** bpf(2), for the device programs of cgroup v2. */
  bpf(command: number, attr: Buffer): number;
  getrandom(bytes: number): Buffer;
  /** The credentials of the peer of a connected unix socket. */
  peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number };
}

/** All of it. Functions take the narrowest part they need. */
export interface Syscalls extends ProcessCalls, MountCalls, FileCalls, ChannelCalls {}
