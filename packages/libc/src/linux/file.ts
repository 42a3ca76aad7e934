/** Files by descriptor and by path relative to one. */
import { AT_EMPTY_PATH, O_CLOEXEC, O_NONBLOCK } from '../constants/open.ts';
import { makedev } from '../devices.ts';
import { EAGAIN, EEXIST, EINVAL, ENOENT, ENOTDIR, ENXIO } from '../errno.ts';
import { check, cString, declare, errno, failure, interrupted } from '../native.ts';
import { NR } from '../syscall-numbers.ts';
import type { FileCalls, FileStat, OpenHow, Path } from '../syscalls.ts';

const c = declare('glibc', {
  // int openat(int dirfd, const char *path, int flags, mode_t mode)
  openat: 'int openat(int dirfd, const char *path, int flags, uint mode)',
  // long syscall(SYS_openat2, int dirfd, const char *path, const struct open_how *how, size_t size); how is ours, 24 bytes
  openat2: 'long syscall(long nr, int dirfd, const char *path, void *how, size_t size)',
  close: 'int close(int fd)',
  // long syscall(SYS_close_range, unsigned first, unsigned last, unsigned flags)
  closeRange: 'long syscall(long nr, uint first, uint last, uint flags)',
  dup2: 'int dup2(int from, int to)',
  // int fcntl(int fd, int op, long arg)
  fcntl: 'int fcntl(int fd, int op, long arg)',
  // ssize_t read(int fd, void *buf, size_t count); buf is the caller's
  read: 'long read(int fd, void *buf, size_t count)',
  // ssize_t write(int fd, const void *buf, size_t count); buf is the caller's
  write: 'long write(int fd, void *buf, size_t count)',
  // int pipe2(int fds[2], int flags); fds is ours
  pipe2: 'int pipe2(void *fds, int flags)',
  // int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *buf); buf is ours, 256 bytes
  statx: 'int statx(int dirfd, const char *path, int flags, uint mask, void *buf)',
  // int fstatfs(int fd, struct statfs *buf); buf is ours, 120 bytes
  fstatfs: 'int fstatfs(int fd, void *buf)',
  mkdirat: 'int mkdirat(int dirfd, const char *path, uint mode)',
  // long syscall(SYS_mknodat, int dirfd, const char *path, umode_t mode, unsigned dev); glibc < 2.33 has no mknodat
  mknodat: 'long syscall(long nr, int dirfd, const char *path, uint mode, uint dev)',
  symlinkat: 'int symlinkat(const char *target, int dirfd, const char *path)',
  linkat: 'int linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags)',
  unlinkat: 'int unlinkat(int dirfd, const char *path, int flags)',
  renameat: 'int renameat(int from_dirfd, const char *from, int to_dirfd, const char *to)',
  // ssize_t readlinkat(int dirfd, const char *path, char *buf, size_t size); buf is ours, not terminated
  readlinkat: 'long readlinkat(int dirfd, const char *path, void *buf, size_t size)',
  fchownat: 'int fchownat(int dirfd, const char *path, int uid, int gid, int flags)',
  fchmod: 'int fchmod(int fd, uint mode)',
  fchmodat: 'int fchmodat(int dirfd, const char *path, uint mode, int flags)',
  // int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags); times is ours, 32 bytes
  utimensat: 'int utimensat(int dirfd, const char *path, void *times, int flags)',
  lseek: 'int64_t lseek(int fd, int64_t offset, int whence)',
  ftruncate: 'int ftruncate(int fd, int64_t length)',
  fsync: 'int fsync(int fd)',
  syncfs: 'int syncfs(int fd)',
  // gives an errno instead of setting it
  posix_fadvise: 'int posix_fadvise(int fd, int64_t offset, int64_t len, int advice)',
  // long syscall(SYS_getdents64, unsigned fd, struct linux_dirent64 *buf, unsigned size); buf is ours
  getdents64: 'long syscall(long nr, int fd, void *buf, uint size)',
});

const F_DUPFD_CLOEXEC = 1030;
const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const FD_CLOEXEC = 1;
const SEEK_SET = 0;
const SEEK_DATA = 3;
const STATX_BASIC_STATS = 0x7ff;
const UTIME_OMIT = 0x3fff_fffen;
const NS_PER_SECOND = 1_000_000_000n;
/** openat2 answers EAGAIN when a rename elsewhere made its safety check inconclusive. */
const OPENAT2_ATTEMPTS = 128;

// Scratch memory of calls that leave nothing in it for later; the calls are synchronous and there is one thread.
const stat = Buffer.alloc(256);
const how = Buffer.alloc(24);
const pair = Buffer.alloc(8);
const fileSystem = Buffer.alloc(128);
const times = Buffer.alloc(32);
const link = Buffer.alloc(4097);
let directory: Buffer | undefined;

function subjectOf(dirfd: number, path: Path): Path | number {
  return path.length === 0 ? dirfd : path;
}

/** A part of a Buffer; checked here, because the kernel writes wherever it is told to. */
function slice(buffer: Buffer, offset: number, length: number, syscall: string): Buffer {
  if (offset < 0 || length < 0 || offset + length > buffer.length)
    throw failure(syscall, EINVAL, 'outside of the buffer');
  return offset === 0 && length === buffer.length ? buffer : buffer.subarray(offset, offset + length);
}

/** struct statx at its fixed offsets; a timestamp is 64-bit seconds and 32-bit nanoseconds. */
function readStat(): FileStat {
  const timeNs = (offset: number): bigint =>
    stat.readBigInt64LE(offset) * NS_PER_SECOND + BigInt(stat.readUInt32LE(offset + 8));
  return {
    nlink: stat.readUInt32LE(16),
    uid: stat.readUInt32LE(20),
    gid: stat.readUInt32LE(24),
    mode: stat.readUInt16LE(28),
    ino: stat.readBigUInt64LE(32),
    size: stat.readBigUInt64LE(40),
    blocks: stat.readBigUInt64LE(48),
    atimeNs: timeNs(64),
    ctimeNs: timeNs(96),
    mtimeNs: timeNs(112),
    rdev: makedev(stat.readUInt32LE(128), stat.readUInt32LE(132)),
    dev: makedev(stat.readUInt32LE(136), stat.readUInt32LE(140)),
  };
}

/** Writes a struct timespec; times before 1970 have negative seconds and positive nanoseconds. */
function writeTime(offset: number, ns: bigint | undefined): void {
  const remainder = ns === undefined ? UTIME_OMIT : ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  times.writeBigInt64LE(ns === undefined ? 0n : (ns - remainder) / NS_PER_SECOND, offset);
  times.writeBigInt64LE(remainder, offset + 8);
}

function setFlag(fd: number, get: number, set: number, bit: number, on: boolean): void {
  const flags = check(c.fcntl(fd, get, 0), 'fcntl', fd);
  const wanted = on ? flags | bit : flags & ~bit;
  if (wanted !== flags) check(c.fcntl(fd, set, wanted), 'fcntl', fd);
}

/** Appends the names of one getdents64 answer: ino 8, off 8, reclen 2, type 1, name up to a NUL. */
function collectNames(from: Buffer, length: number, names: Buffer[]): void {
  for (let at = 0; at < length; at += from.readUInt16LE(at + 16)) {
    const name = from.subarray(at + 19, from.indexOf(0, at + 19));
    const isDots = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
    if (!isDots) names.push(Buffer.from(name));
  }
}

/** A descriptor, or -1 with the reason in errno; the same holds for the two below. */
function openAt(dirfd: number, path: Path, flags: number, mode: number): number {
  const name = cString(path, 'openat');
  let result: number;
  do result = c.openat(dirfd, name, flags | O_CLOEXEC, mode);
  while (interrupted(result));
  return result;
}

function openAt2(dirfd: number, path: Path, { flags, mode, resolve }: OpenHow): number {
  const name = cString(path, 'openat2');
  // Three 64-bit numbers of which no used bit is above the 32nd.
  how.writeInt32LE(flags | O_CLOEXEC, 0);
  how.writeInt32LE(mode ?? 0, 8);
  how.writeInt32LE(resolve, 16);
  let result = -1;
  for (let attempt = 0; attempt < OPENAT2_ATTEMPTS; attempt++) {
    do result = c.openat2(NR.openat2, dirfd, name, how, how.length);
    while (interrupted(result));
    if (result >= 0 || errno() !== EAGAIN) break;
  }
  return result;
}

function statAt(dirfd: number, path: Path, flags: number): number {
  const name = cString(path, 'statx');
  let result: number;
  do result = c.statx(dirfd, name, flags, STATX_BASIC_STATS, stat);
  while (interrupted(result));
  return result;
}

/** True when a call has failed because there is nothing of that name. */
function isAbsent(result: number): boolean {
  if (result >= 0) return false;
  const code = errno();
  return code === ENOENT || code === ENOTDIR;
}

type Calls = Omit<
  FileCalls,
  'lock' | 'fsetxattr' | 'fgetxattr' | 'flistxattr' | 'lsetxattr' | 'lgetxattr' | 'llistxattr'
>;

export const fileCalls: Calls = {
  openat: (dirfd, path, flags, mode = 0) => check(openAt(dirfd, path, flags, mode), 'openat', path),

  openatIfPresent(dirfd, path, flags) {
    const result = openAt(dirfd, path, flags, 0);
    return isAbsent(result) ? undefined : check(result, 'openat', path);
  },

  openat2: (dirfd, path, openHow) => check(openAt2(dirfd, path, openHow), 'openat2', path),

  openat2IfPresent(dirfd, path, openHow) {
    const result = openAt2(dirfd, path, openHow);
    return isAbsent(result) ? undefined : check(result, 'openat2', path);
  },

  close(fd) {
    // Never retried: on Linux the descriptor is gone even when close was interrupted, and may be someone else's by now.
    const result = c.close(fd);
    if (!interrupted(result)) check(result, 'close', fd);
  },

  closeRange(first, last, flags) {
    check(c.closeRange(NR.close_range, first, last, flags), 'close_range', `fds ${first} to ${last}`);
  },

  dup2(from, to) {
    // dup2 onto itself does nothing, not even to the flag; the promise is that `to` survives an execve.
    if (from === to) {
      setFlag(from, F_GETFD, F_SETFD, FD_CLOEXEC, false);
      return;
    }
    let result: number;
    do result = c.dup2(from, to);
    while (interrupted(result));
    check(result, 'dup2', from);
  },

  dup: (fd, minimum = 0) => check(c.fcntl(fd, F_DUPFD_CLOEXEC, minimum), 'fcntl', fd),

  setCloseOnExec(fd, closeOnExec) {
    setFlag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, closeOnExec);
  },

  setNonBlocking(fd, nonBlocking) {
    setFlag(fd, F_GETFL, F_SETFL, O_NONBLOCK, nonBlocking);
  },

  read(fd, into, offset = 0, length = into.length - offset) {
    const part = slice(into, offset, length, 'read');
    let result: number;
    do result = c.read(fd, part, length);
    while (interrupted(result));
    if (result < 0 && errno() === EAGAIN) return undefined;
    return check(result, 'read', fd);
  },

  write(fd, from, offset = 0, length = from.length - offset) {
    const part = slice(from, offset, length, 'write');
    let result: number;
    do result = c.write(fd, part, length);
    while (interrupted(result));
    if (result < 0 && errno() === EAGAIN) return undefined;
    return check(result, 'write', fd);
  },

  pipe2(flags) {
    check(c.pipe2(pair, flags | O_CLOEXEC), 'pipe2', '');
    return { readEnd: pair.readInt32LE(0), writeEnd: pair.readInt32LE(4) };
  },

  fstat(fd) {
    check(c.statx(fd, '', AT_EMPTY_PATH, STATX_BASIC_STATS, stat), 'statx', fd);
    return readStat();
  },

  fstatat(dirfd, path, flags) {
    check(statAt(dirfd, path, flags), 'statx', subjectOf(dirfd, path));
    return readStat();
  },

  fstatatIfPresent(dirfd, path, flags) {
    const result = statAt(dirfd, path, flags);
    if (isAbsent(result)) return undefined;
    check(result, 'statx', subjectOf(dirfd, path));
    return readStat();
  },

  fstatfs(fd) {
    const buffer = fileSystem;
    let result: number;
    do result = c.fstatfs(fd, buffer);
    while (interrupted(result));
    check(result, 'fstatfs', fd);
    return {
      type: buffer.readUInt32LE(0),
      blockSizeBytes: buffer.readBigInt64LE(8),
      blocks: buffer.readBigUInt64LE(16),
      blocksFree: buffer.readBigUInt64LE(24),
      blocksAvailable: buffer.readBigUInt64LE(32),
    };
  },

  mkdirat(dirfd, path, mode) {
    check(c.mkdirat(dirfd, cString(path, 'mkdirat'), mode), 'mkdirat', path);
  },

  mkdiratIfAbsent(dirfd, path, mode) {
    const result = c.mkdirat(dirfd, cString(path, 'mkdirat'), mode);
    if (result < 0 && errno() === EEXIST) return false;
    check(result, 'mkdirat', path);
    return true;
  },

  mknodat(dirfd, path, mode, device) {
    const name = cString(path, 'mknodat');
    check(c.mknodat(NR.mknodat, dirfd, name, mode, Number(device & 0xffff_ffffn)), 'mknodat', path);
  },

  symlinkat(target, dirfd, path) {
    check(c.symlinkat(cString(target, 'symlinkat'), dirfd, cString(path, 'symlinkat')), 'symlinkat', path);
  },

  symlinkatIfAbsent(target, dirfd, path) {
    const result = c.symlinkat(cString(target, 'symlinkat'), dirfd, cString(path, 'symlinkat'));
    if (result < 0 && errno() === EEXIST) return false;
    check(result, 'symlinkat', path);
    return true;
  },

  linkat(fromFd, from, toFd, to, flags) {
    check(c.linkat(fromFd, cString(from, 'linkat'), toFd, cString(to, 'linkat'), flags), 'linkat', to);
  },

  unlinkat(dirfd, path, flags) {
    check(c.unlinkat(dirfd, cString(path, 'unlinkat'), flags), 'unlinkat', path);
  },

  renameat(fromFd, from, toFd, to) {
    check(c.renameat(fromFd, cString(from, 'renameat'), toFd, cString(to, 'renameat')), 'renameat', from);
  },

  readlinkat(dirfd, path) {
    const length = c.readlinkat(dirfd, cString(path, 'readlinkat'), link, link.length);
    check(length, 'readlinkat', subjectOf(dirfd, path));
    return Buffer.from(link.subarray(0, length));
  },

  fchownat(dirfd, path, uid, gid, flags) {
    const result = c.fchownat(dirfd, cString(path, 'fchownat'), uid | 0, gid | 0, flags);
    check(result, 'fchownat', subjectOf(dirfd, path));
  },

  fchmod(fd, mode) {
    check(c.fchmod(fd, mode), 'fchmod', fd);
  },

  fchmodat(dirfd, path, mode) {
    check(c.fchmodat(dirfd, cString(path, 'fchmodat'), mode, 0), 'fchmodat', path);
  },

  utimensat(dirfd, path, atimeNs, mtimeNs, flags) {
    writeTime(0, atimeNs);
    writeTime(16, mtimeNs);
    check(c.utimensat(dirfd, cString(path, 'utimensat'), times, flags), 'utimensat', subjectOf(dirfd, path));
  },

  seek(fd, offset) {
    check(Number(c.lseek(fd, offset, SEEK_SET)), 'lseek', fd);
  },

  seekData(fd, offset) {
    const found = Number(c.lseek(fd, offset, SEEK_DATA));
    if (found < 0 && errno() === ENXIO) return undefined;
    return BigInt(check(found, 'lseek', fd));
  },

  ftruncate(fd, sizeBytes) {
    let result: number;
    do result = c.ftruncate(fd, sizeBytes);
    while (interrupted(result));
    check(result, 'ftruncate', fd);
  },

  fsync(fd) {
    let result: number;
    do result = c.fsync(fd);
    while (interrupted(result));
    check(result, 'fsync', fd);
  },

  syncfs(fd) {
    check(c.syncfs(fd), 'syncfs', fd);
  },

  fadvise(fd, offset, length, advice) {
    c.posix_fadvise(fd, offset, length, advice);
  },

  readDirectory(fd) {
    directory ??= Buffer.alloc(32 * 1024);
    const names: Buffer[] = [];
    for (;;) {
      const length = c.getdents64(NR.getdents64, fd, directory, directory.length);
      if (check(length, 'getdents64', fd) === 0) return names;
      collectNames(directory, length, names);
    }
  },
};
