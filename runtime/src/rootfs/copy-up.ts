/**
 * `tmpcopyup`: a new file system begins with what was in the directory that it covers.
 *
 * What is copied belongs to the image and is hostile: everything is opened relative to the directory it was listed in,
 * without following symlinks, looked at before it is opened for reading, and nested no deeper than the kernel's paths go.
 */
import { wrap } from '@gantry/errors';
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  isErrno,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NOCTTY,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';
import { using } from './resolve.ts';

export type CopyCalls = Pick<
  FileCalls,
  | 'openat'
  | 'close'
  | 'read'
  | 'write'
  | 'fstat'
  | 'fstatat'
  | 'fstatatIfPresent'
  | 'mkdirat'
  | 'mknodat'
  | 'symlinkat'
  | 'readlinkat'
  | 'fchownat'
  | 'fchmod'
  | 'readDirectory'
  | 'utimensat'
  | 'flistxattr'
  | 'fgetxattr'
  | 'fsetxattr'
>;

const CHUNK_BYTES = 64 * 1024;
/** PATH_MAX in the shortest names. */
const MAX_DEPTH = 2048;

const readable = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

/** Copies the content of one directory into another, which is empty; both are open, for reading or as O_PATH. */
export function copyUp(sys: CopyCalls, from: number, to: number): void {
  const stat = sys.fstatat(from, '', AT_EMPTY_PATH);
  using(sys, sys.openat(from, '.', O_RDONLY | O_DIRECTORY), (source) => {
    using(sys, sys.openat(to, '.', O_RDONLY | O_DIRECTORY), (target) => {
      copyContent(sys, source, target, MAX_DEPTH);
      finish(sys, source, target, stat);
    });
  });
}

function copyContent(sys: CopyCalls, from: number, to: number, depth: number): void {
  for (const name of sys.readDirectory(from)) {
    try {
      copyEntry(sys, from, to, name, depth);
    } catch (err) {
      throw wrap(err, `copying ${name.toString()}`);
    }
  }
}

function copyEntry(sys: CopyCalls, from: number, to: number, name: Buffer, depth: number): void {
  const stat = sys.fstatatIfPresent(from, name, AT_SYMLINK_NOFOLLOW);
  if (stat === undefined) return;
  switch (stat.mode & S_IFMT) {
    case S_IFDIR:
      if (depth === 0) throw new RangeError('directories are nested too deeply');
      sys.mkdirat(to, name, 0o700);
      using(sys, sys.openat(from, name, readable | O_DIRECTORY), (source) => {
        using(sys, sys.openat(to, name, readable | O_DIRECTORY), (target) => {
          copyContent(sys, source, target, depth - 1);
          finish(sys, source, target, stat);
        });
      });
      return;
    case S_IFREG:
      using(sys, sys.openat(from, name, readable), (source) => {
        // Exchanged for something else since it was looked at: not ours to read.
        if ((sys.fstat(source).mode & S_IFMT) !== S_IFREG) return;
        using(sys, sys.openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600), (target) => {
          copyBytes(sys, source, target);
          finish(sys, source, target, stat);
        });
      });
      return;
    case S_IFLNK:
      sys.symlinkat(sys.readlinkat(from, name), to, name);
      own(sys, to, name, stat);
      return;
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
      copyNode(sys, to, name, stat);
      return;
    default:
      // A socket means nothing without the process that listens on it.
      return;
  }
}

function copyBytes(sys: CopyCalls, from: number, to: number): void {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (;;) {
    const length = sys.read(from, chunk) ?? 0;
    if (length === 0) return;
    for (let done = 0; done < length;) done += sys.write(to, chunk, done, length - done) ?? 0;
  }
}

/** Where nodes cannot be made (a user namespace) there is none. */
function copyNode(sys: CopyCalls, to: number, name: Buffer, stat: FileStat): void {
  try {
    sys.mknodat(to, name, stat.mode, stat.rdev);
  } catch (err) {
    if (isErrno(err, 'EPERM')) return;
    throw err;
  }
  own(sys, to, name, stat);
}

/** Owner, attributes, mode and times, in an order in which none takes away what another has set. */
function finish(sys: CopyCalls, from: number, to: number, stat: FileStat): void {
  own(sys, to, '', stat);
  for (const attribute of sys.flistxattr(from)) {
    const value = sys.fgetxattr(from, attribute);
    if (value === undefined) continue;
    try {
      sys.fsetxattr(to, attribute, value, 0);
    } catch (err) {
      // Not every file system has all of them, and not everybody may set them.
      if (!isErrno(err, 'EOPNOTSUPP', 'EPERM', 'EACCES', 'EINVAL')) throw err;
    }
  }
  sys.fchmod(to, stat.mode & 0o7777);
  sys.utimensat(to, '', stat.atimeNs, stat.mtimeNs, AT_EMPTY_PATH);
}

function own(sys: CopyCalls, at: number, name: Buffer | '', stat: FileStat): void {
  try {
    sys.fchownat(at, name, stat.uid, stat.gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
  } catch (err) {
    // An id that is not mapped.
    if (!isErrno(err, 'EPERM', 'EINVAL')) throw err;
  }
}
