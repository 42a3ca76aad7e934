/**
 * Finding and making places inside a container's root file system, which is hostile: any component may be a symlink,
 * and any may be exchanged while we look.
 *
 * Promise: a descriptor that comes out of here refers to something inside the root it was resolved in. The kernel
 * resolves whole paths with the root as the ceiling (openat2(2), RESOLVE_IN_ROOT) and never through magic links; what is
 * missing is made by one mkdirat or openat on a parent that was resolved so, and opened again without following links.
 */
import { posix } from 'node:path';
import { invalidArgument, wrap } from '@gantry/errors';
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
} from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';

export type ResolveCalls = Pick<
  FileCalls,
  | 'openat2'
  | 'openat2IfPresent'
  | 'openat'
  | 'close'
  | 'mkdiratIfAbsent'
  | 'fstatat'
  | 'fstatatIfPresent'
  | 'readlinkat'
  | 'fstatfs'
>;

/** As many as the kernel follows (path_resolution(7)). */
const MAX_DANGLING_LINKS = 40;
const inRoot = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

/** A destination of the configuration as a path below the root: absolute, without `.` and `..`. */
export function normalDestination(unsafePath: string): string {
  return posix.resolve('/', unsafePath);
}

/** Opens an existing place as an O_PATH descriptor. Symlinks are followed inside the root. The caller closes it. */
export function openInRoot(sys: ResolveCalls, root: number, unsafePath: string, flags = 0): number {
  return sys.openat2(root, unsafePath, { flags: O_PATH | flags, resolve: inRoot });
}

/** As `openInRoot`, but refuses every symlink on the way (ELOOP). */
export function openWithoutLinks(sys: ResolveCalls, root: number, unsafePath: string, flags = 0): number {
  return sys.openat2(root, unsafePath, { flags: O_PATH | flags, resolve: inRoot | RESOLVE_NO_SYMLINKS });
}

/** As `openInRoot`; undefined when it is not there. */
export function openIfPresent(sys: ResolveCalls, root: number, unsafePath: string, flags = 0): number | undefined {
  return sys.openat2IfPresent(root, unsafePath, { flags: O_PATH | flags, resolve: inRoot });
}

export function statOf(sys: ResolveCalls, fd: number): FileStat {
  return sys.fstatat(fd, '', AT_EMPTY_PATH);
}

export function isDirectory(stat: FileStat): boolean {
  return (stat.mode & S_IFMT) === S_IFDIR;
}

/** Runs `use` with a descriptor and closes it whatever happens. */
export function using<T>(sys: Pick<FileCalls, 'close'>, fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    sys.close(fd);
  }
}

/** Opens the directory, making it and what is missing above it (mode 0755). The caller closes it. */
export function makeDirectory(sys: ResolveCalls, root: number, unsafePath: string): number {
  return make(sys, root, normalDestination(unsafePath), MAX_DANGLING_LINKS);
}

/**
 * Opens the place, which is a directory or, with `kind` file, anything but one; makes it when it is missing (an empty
 * file 0644 in directories 0755). The caller closes the O_PATH descriptor.
 */
export function makeTarget(sys: ResolveCalls, root: number, unsafePath: string, kind: 'directory' | 'file'): number {
  if (kind === 'directory') return makeDirectory(sys, root, unsafePath);
  const path = normalDestination(unsafePath);
  const existing = openIfPresent(sys, root, path);
  if (existing !== undefined) return existing;
  const real = followDangling(sys, root, path, MAX_DANGLING_LINKS);
  return using(sys, makeDirectory(sys, root, posix.dirname(real)), (parent) => {
    const name = posix.basename(real);
    // Not O_EXCL: somebody else may have made it by now, and then it is the target.
    sys.close(sys.openat(parent, name, O_RDONLY | O_CREAT | O_NOFOLLOW, 0o644));
    return sys.openat(parent, name, O_PATH | O_NOFOLLOW);
  });
}

function make(sys: ResolveCalls, root: number, path: string, linksLeft: number): number {
  const existing = openIfPresent(sys, root, path, O_DIRECTORY);
  if (existing !== undefined) return existing;
  // The root itself cannot be made; what is wrong with it is in the error.
  if (path === '/') return openInRoot(sys, root, path, O_DIRECTORY);
  return using(sys, make(sys, root, posix.dirname(path), linksLeft), (parent) => {
    const name = posix.basename(path);
    let isNew: boolean;
    try {
      isNew = sys.mkdiratIfAbsent(parent, name, 0o755);
    } catch (err) {
      throw wrap(err, `making ${path} in the root file system`);
    }
    if (!isNew) {
      // Made by somebody else just now, a symlink to nothing, or no directory, which the open below says.
      const real = linkTarget(sys, parent, path, linksLeft);
      if (real !== undefined) return make(sys, root, real, linksLeft - 1);
    }
    return sys.openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  });
}

/** Where the missing path leads when its last component is a symlink to nothing; the path itself when it is not. */
function followDangling(sys: ResolveCalls, root: number, path: string, linksLeft: number): string {
  const parent = openIfPresent(sys, root, posix.dirname(path), O_DIRECTORY);
  if (parent === undefined) return path;
  return using(sys, parent, () => linkTarget(sys, parent, path, linksLeft) ?? path);
}

/** The path that the symlink at `path`, which is in the open `parent`, stands for; undefined when it is no symlink. */
function linkTarget(sys: ResolveCalls, parent: number, path: string, linksLeft: number): string | undefined {
  const name = posix.basename(path);
  const stat = sys.fstatatIfPresent(parent, name, AT_SYMLINK_NOFOLLOW);
  if (stat === undefined || (stat.mode & S_IFMT) !== S_IFLNK) return undefined;
  if (linksLeft <= 0) throw invalidArgument(`too many symlinks at ${path} in the root file system`);
  const unsafeTarget = sys.readlinkat(parent, name).toString();
  // `..` in a link counts from where the link really is; lexical joining differs only for links below links, and the
  // result is resolved inside the root again.
  return posix.resolve(posix.dirname(path), unsafeTarget);
}
