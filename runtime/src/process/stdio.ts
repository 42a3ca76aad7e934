/** A process's first three descriptors, and closing every other one. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  CLOSE_RANGE_CLOEXEC,
  isErrno,
  makedev,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
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
  'openat' | 'close' | 'dup' | 'dup2' | 'fstat' | 'fchownat' | 'closeRange' | 'readDirectory' | 'readlinkat'
>;

/**
 * Puts the given descriptors onto 0, 1 and 2. They are copied first, because one of them may be 0, 1 or 2 itself. The
 * copies are left to `closeOthers`.
 */
export function installStdio(sys: Calls, stdio: Stdio): void {
  const wanted = [stdio.stdin, stdio.stdout, stdio.stderr];
  const nothing = wanted.includes(-1) ? sys.openat(AT_FDCWD, '/dev/null', O_RDWR) : -1;
  const copies = wanted.map((fd) => sys.dup(fd < 0 ? nothing : fd, 3));
  for (const [target, copy] of copies.entries()) sys.dup2(copy, target);
}

/** A terminal on 0, 1 and 2. */
export function installTerminal(sys: Calls, slave: number): void {
  for (const target of [0, 1, 2]) sys.dup2(slave, target);
}

/**
 * Lets go of the caller's descriptors: everything from 3 on is closed at execve, and what others could wait for (files,
 * fifos, terminals, sockets) at once, because a created container may stay what it is for a long time.
 *
 * What Node's own event loop consists of (event descriptors, its signal pipe) must stay: V8 wakes the loop up from
 * inside an allocation, and libuv aborts the process when it cannot. `procSelf` is a descriptor of the host's
 * /proc/self, and is closed with the rest.
 */
export function closeOthers(sys: Calls, procSelf: number, kept: number): void {
  sys.closeRange(3, LAST_FD, CLOSE_RANGE_CLOEXEC);
  const list = sys.openat(procSelf, 'fd', O_RDONLY | O_DIRECTORY);
  for (const name of sys.readDirectory(list)) {
    const fd = Number(name.toString('latin1'));
    if (fd < 3 || fd === kept || fd === list) continue;
    if (!isOfEventLoop(sys.readlinkat(list, name))) sys.close(fd);
  }
  sys.close(list);
}

function isOfEventLoop(link: Buffer): boolean {
  const text = link.toString('latin1');
  return text.startsWith('anon_inode:[event') || text.startsWith('pipe:');
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
