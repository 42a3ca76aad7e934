/** A process's first three descriptors, and closing every other one. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  CLOSE_RANGE_CLOEXEC,
  isErrno,
  makedev,
  O_NOFOLLOW,
  O_RDWR,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
  S_IFSOCK,
} from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import type { Stdio } from '../container.ts';

const NULL_DEVICE = makedev(1, 3);
const LAST_FD = 0xffff_ffff;

type Calls = Pick<
  FileCalls,
  'openat' | 'close' | 'dup' | 'dup2' | 'fstat' | 'fchownat' | 'closeRange' | 'setCloseOnExec'
>;

/**
 * Puts the given descriptors onto 0, 1 and 2. One that is 0, 1 or 2 itself is copied first, because it may be overwritten
 * before its turn. Copies are left to `closeOthers`.
 */
export function installStdio(sys: Calls, stdio: Stdio): void {
  const wanted = [stdio.stdin, stdio.stdout, stdio.stderr];
  const nothing = wanted.includes(-1) ? sys.openat(AT_FDCWD, '/dev/null', O_RDWR) : -1;
  const sources = wanted.map((fd) => (fd < 0 ? nothing : fd)).map((fd) => (fd < 3 ? sys.dup(fd, 3) : fd));
  for (const [target, source] of sources.entries()) sys.dup2(source, target);
}

/** A terminal on 0, 1 and 2. */
export function installTerminal(sys: Calls, slave: number): void {
  for (const target of [0, 1, 2]) sys.dup2(slave, target);
}

/**
 * Lets go of the caller's descriptors: everything from 3 on is closed at execve, and what others could wait for (files,
 * fifos, terminals, sockets) at once, because a created container may stay what it is for a long time.
 *
 * What Node's own event loop consists of must stay (`eventLoopDescriptors`): V8 wakes the loop up from inside an
 * allocation, and libuv aborts the process when it cannot. `kept` are these and the handshake's, in ascending order.
 * As many descriptors from 3 on as are to be preserved stay as they are.
 */
export function closeOthers(sys: Calls, kept: readonly number[], preserved = 0): void {
  const begin = 3 + preserved;
  // Node has marked what it inherited.
  for (let fd = 3; fd < begin; fd++) sys.setCloseOnExec(fd, false);
  let first = begin;
  for (const fd of kept) {
    if (fd < first) continue;
    if (fd > first) sys.closeRange(first, fd - 1, 0);
    first = fd + 1;
  }
  sys.closeRange(first, LAST_FD, 0);
  sys.closeRange(begin, LAST_FD, CLOSE_RANGE_CLOEXEC);
}

/** A list in ascending order with one more descriptor in it. */
export function withDescriptor(kept: readonly number[], fd: number): number[] {
  return [...kept.filter((one) => one < fd), fd, ...kept.filter((one) => one > fd)];
}

/**
 * The container's own /dev/null instead of the host's, which would keep a part of the host's mount tree in use and shows
 * up as a foreign path. Only when it really is the null device.
 */
export function reopenNull(sys: Calls): void {
  let own: number | undefined;
  try {
    for (const fd of [0, 1, 2]) {
      if (!isNull(sys, fd)) continue;
      own ??= sys.openat(AT_FDCWD, '/dev/null', O_RDWR | O_NOFOLLOW);
      if (isNull(sys, own)) sys.dup2(own, fd);
    }
  } catch (err) {
    if (!isErrno(err, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EPERM', 'ENXIO')) throw err;
  } finally {
    if (own !== undefined) sys.close(own);
  }
}

function isNull(sys: Calls, fd: number): boolean {
  const { mode, rdev } = sys.fstat(fd);
  return (mode & S_IFMT) === S_IFCHR && rdev === NULL_DEVICE;
}

/**
 * Gives pipes and sockets to the container's user, who could not open /dev/stdout otherwise. `uid` is the host's id.
 * Files and devices stay their owners'.
 */
export function ownStdio(sys: Calls, stdio: Stdio, uid: number): void {
  for (const fd of new Set([stdio.stdin, stdio.stdout, stdio.stderr])) {
    if (fd < 0) continue;
    const { mode, uid: owner, gid } = sys.fstat(fd);
    const type = mode & S_IFMT;
    if (owner === uid || (type !== S_IFIFO && type !== S_IFSOCK)) continue;
    try {
      sys.fchownat(fd, '', uid, gid, AT_EMPTY_PATH);
    } catch (err) {
      if (!isErrno(err, 'EPERM', 'EINVAL', 'EROFS')) throw err;
    }
  }
}
