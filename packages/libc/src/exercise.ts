/**
 * Running the wrappers of the system calls that a container's start needs, without any effect: for a process that forks
 * and wants its children to find them compiled.
 *
 * Each call is one that the kernel refuses (a descriptor that is none, an empty path, a name that is too long) or one
 * that only looks.
 */
import { AT_FDCWD, CLONE_FS, CLONE_NEWNS, PR_GET_DUMPABLE, SOCK_SEQPACKET, WNOHANG } from './constants.ts';
import { linux } from './linux.ts';
import type { Syscalls } from './syscalls.ts';

/** No descriptor, and no directory to start from either. */
const NONE = -1;
const NO_LIMIT = { soft: 1n, hard: 0n };
/** Longer than any name of a host or a key may be. */
const TOO_LONG = 'x'.repeat(8192);
/** The one number that is no group. */
const NOBODY = 0xffff_ffff;
const how = { flags: 0, resolve: 0 };
const bytes = Buffer.alloc(8);

type Call = (sys: Syscalls) => unknown;

function throughSocket(sys: Syscalls): void {
  const [one, other] = sys.socketpair(SOCK_SEQPACKET);
  try {
    sys.sendMessage(one, bytes, []);
    sys.receiveMessage(other, bytes.length);
  } finally {
    sys.close(one);
    sys.close(other);
  }
}

function throughEventfd(sys: Syscalls): void {
  const fd = sys.eventfd(1);
  sys.read(fd, bytes);
  sys.close(fd);
}

const calls: readonly Call[] = [
  throughEventfd,
  (sys) => sys.getpid(),
  (sys) => sys.prctl(PR_GET_DUMPABLE),
  (sys) => sys.wait4(sys.getpid(), WNOHANG),
  // A mount namespace of its own and a shared root directory exclude each other.
  (sys) => sys.clone(CLONE_NEWNS | CLONE_FS),
  (sys) => sys.ignoreSignal(0, false),
  (sys) => sys.pidfdOpen(NONE),
  (sys) => sys.pidfdSendSignal(NONE, 0),
  (sys) => sys.umask(sys.umask(0o022)),
  (sys) => sys.setgroups([NOBODY]),
  (sys) => sys.setresuid(-1, -1, -1),
  (sys) => sys.setresgid(-1, -1, -1),
  (sys) => sys.capset(sys.capget()),
  (sys) => sys.setResourceLimit(0, 7, NO_LIMIT),
  (sys) => sys.getResourceLimit(0, 7),
  (sys) => sys.joinSessionKeyring(TOO_LONG),
  (sys) => sys.seccompSetFilter(0x7fff_ffff, bytes),
  (sys) => sys.execve('', ['x'], ['x']),
  (sys) => sys.setns(NONE, 0),
  (sys) => sys.unshare(0),
  (sys) => sys.sethostname(TOO_LONG),
  (sys) => sys.chdir(''),
  (sys) => sys.fchdir(NONE),
  (sys) => sys.getcwd(),
  (sys) => sys.pivotRoot('', ''),
  (sys) => sys.umount2('', 0),
  (sys) => sys.fsopen(''),
  (sys) => sys.fsconfigString(NONE, 'x', 'x'),
  (sys) => sys.fsconfigFlag(NONE, 'x'),
  (sys) => sys.fsconfigCreate(NONE),
  (sys) => sys.fsmount(NONE, 0),
  (sys) => sys.openTree(NONE, 'x', 0),
  (sys) => sys.moveMount(NONE, '', NONE, '', 0),
  (sys) => sys.mountSetattr(NONE, 'x', 0, { set: 0, clear: 0 }),
  (sys) => sys.openat(NONE, 'x', 0),
  (sys) => sys.openatIfPresent(AT_FDCWD, '', 0),
  (sys) => sys.openat2(NONE, 'x', how),
  (sys) => sys.openat2IfPresent(AT_FDCWD, '', how),
  (sys) => sys.close(NONE),
  (sys) => sys.closeRange(1, 0, 0),
  (sys) => sys.dup2(NONE, NONE - 1),
  (sys) => sys.dup(NONE),
  (sys) => sys.read(NONE, bytes),
  (sys) => sys.write(NONE, bytes),
  (sys) => sys.fstat(NONE),
  (sys) => sys.fstatat(AT_FDCWD, '/', 0),
  (sys) => sys.fstatatIfPresent(AT_FDCWD, '', 0),
  (sys) => sys.fstatfs(NONE),
  (sys) => sys.mkdirat(NONE, 'x', 0),
  (sys) => sys.mkdiratIfAbsent(AT_FDCWD, '/', 0),
  (sys) => sys.mknodat(NONE, 'x', 0, 0n),
  (sys) => sys.symlinkat('x', NONE, 'x'),
  (sys) => sys.symlinkatIfAbsent('x', AT_FDCWD, '/'),
  (sys) => sys.unlinkat(NONE, 'x', 0),
  (sys) => sys.renameat(NONE, 'x', NONE, 'x'),
  (sys) => sys.readlinkat(NONE, 'x'),
  (sys) => sys.fchownat(NONE, 'x', 0, 0, 0),
  (sys) => sys.lgetxattr('', 'trusted.x'),
  (sys) => sys.lsetxattr('', 'trusted.x', bytes, 0),
  throughSocket,
  (sys) => sys.poll([{ fd: NONE, events: 0 }], 0),
  (sys) => sys.linkUp('nothing'),
];

/** Makes each call some times. Nothing is changed and nothing left open; every error is expected. */
export function exerciseCalls(rounds: number, sys: Syscalls = linux): void {
  for (let round = 0; round < rounds; round++) {
    for (const call of calls) {
      try {
        call(sys);
      } catch {
        // Refused, as it was meant to be.
      }
    }
  }
}
