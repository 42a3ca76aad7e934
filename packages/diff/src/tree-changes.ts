/**
 * What changed between two trees: both are walked at once, in the order of their names, by descriptors.
 *
 * Whether a node of both is the same is told from what stat(2) says: inode, mode, owner, device, capabilities; for all
 * but directories size and time as well. Times that may have been cut to seconds on the way (both without nanoseconds)
 * prove nothing: then the content decides.
 */
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  isErrno,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';
import type { EntryPath } from './entry-path.ts';

/** The attribute that counts as a change and is carried into the layer. */
export const capabilityAttribute = 'security.capability';

/** One difference, or (kind `same`) a file with several links that did not change. */
export interface Change {
  readonly kind: 'added' | 'modified' | 'deleted' | 'same';
  readonly path: EntryPath;
  /** What it is now; of a deleted node, what it was. */
  readonly stat: FileStat;
  /** The directory that holds (or held) it, in the tree where it is; good until the next change is asked for. */
  readonly parentFd: number;
}

const billion = 1_000_000_000n;
const compareBytes = 256 * 1024;

/** The changes from `left` to `right`, parents before children. */
export function* treeChanges(sys: FileCalls, left: string, right: string): Generator<Change> {
  const leftFd = sys.openat(AT_FDCWD, left, O_RDONLY | O_DIRECTORY);
  try {
    const rightFd = sys.openat(AT_FDCWD, right, O_RDONLY | O_DIRECTORY);
    try {
      yield* directoryChanges(sys, leftFd, rightFd, []);
    } finally {
      sys.close(rightFd);
    }
  } finally {
    sys.close(leftFd);
  }
}

function* directoryChanges(
  sys: FileCalls,
  leftFd: number | undefined,
  rightFd: number,
  path: EntryPath,
): Generator<Change> {
  const rightNames = new Map(sys.readDirectory(rightFd).map((name) => [name.toString('latin1'), name]));
  const leftNames = new Map(
    (leftFd === undefined ? [] : sys.readDirectory(leftFd)).map((name) => [name.toString('latin1'), name]),
  );
  const keys = [...new Set([...leftNames.keys(), ...rightNames.keys()])].sort();
  for (const key of keys) {
    const name = rightNames.get(key) ?? leftNames.get(key) ?? Buffer.alloc(0);
    const old = leftFd !== undefined && leftNames.has(key) ? look(sys, leftFd, name) : undefined;
    const now = rightNames.has(key) ? look(sys, rightFd, name) : undefined;
    const at = [...path, name];
    if (now === undefined) {
      if (old !== undefined && leftFd !== undefined) yield { kind: 'deleted', path: at, stat: old, parentFd: leftFd };
      continue;
    }
    if (old === undefined || leftFd === undefined) {
      yield { kind: 'added', path: at, stat: now, parentFd: rightFd };
    } else if (!isSame(sys, leftFd, rightFd, name, old, now)) {
      yield { kind: 'modified', path: at, stat: now, parentFd: rightFd };
    } else if (typeOf(now) !== S_IFDIR && now.nlink > 1) {
      yield { kind: 'same', path: at, stat: now, parentFd: rightFd };
    }
    if (typeOf(now) === S_IFDIR) {
      const below = old !== undefined && typeOf(old) === S_IFDIR ? leftFd : undefined;
      yield* childChanges(sys, below, rightFd, name, at);
    }
  }
}

function* childChanges(
  sys: FileCalls,
  leftParentFd: number | undefined,
  rightParentFd: number,
  name: Buffer,
  path: EntryPath,
): Generator<Change> {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  const leftFd = leftParentFd === undefined ? undefined : sys.openat(leftParentFd, name, flags);
  try {
    const rightFd = sys.openat(rightParentFd, name, flags);
    try {
      yield* directoryChanges(sys, leftFd, rightFd, path);
    } finally {
      sys.close(rightFd);
    }
  } finally {
    if (leftFd !== undefined) sys.close(leftFd);
  }
}

function isSame(sys: FileCalls, leftFd: number, rightFd: number, name: Buffer, old: FileStat, now: FileStat): boolean {
  if (old.dev === now.dev && old.ino === now.ino) return true;
  if (old.mode !== now.mode || old.uid !== now.uid || old.gid !== now.gid || old.rdev !== now.rdev) return false;
  const type = typeOf(now);
  if (type === S_IFREG || type === S_IFDIR) {
    const before = readCapability(sys, leftFd, name);
    const after = readCapability(sys, rightFd, name);
    if (!(before ?? empty).equals(after ?? empty)) return false;
  }
  if (type === S_IFDIR) return true;
  if (old.size !== now.size || old.mtimeNs / billion !== now.mtimeNs / billion) return false;
  if (old.mtimeNs % billion !== 0n || now.mtimeNs % billion !== 0n) return old.mtimeNs === now.mtimeNs;
  if (type === S_IFLNK) return sys.readlinkat(leftFd, name).equals(sys.readlinkat(rightFd, name));
  return type !== S_IFREG || sameContent(sys, leftFd, rightFd, name);
}

const empty = Buffer.alloc(0);

/** The capability attribute of an entry; undefined when it has none. */
export function readCapability(sys: FileCalls, parentFd: number, name: Buffer): Buffer | undefined {
  const fd = sys.openat(parentFd, name, O_PATH | O_NOFOLLOW);
  try {
    return sys.fgetxattr(fd, capabilityAttribute);
  } catch (err) {
    if (isErrno(err, 'EOPNOTSUPP', 'ENOTSUP')) return undefined;
    throw err;
  } finally {
    sys.close(fd);
  }
}

function sameContent(sys: FileCalls, leftFd: number, rightFd: number, name: Buffer): boolean {
  const [one, two] = [
    sys.openat(leftFd, name, O_RDONLY | O_NOFOLLOW),
    sys.openat(rightFd, name, O_RDONLY | O_NOFOLLOW),
  ];
  try {
    const [first, second] = [Buffer.allocUnsafe(compareBytes), Buffer.allocUnsafe(compareBytes)];
    for (;;) {
      const a = readFully(sys, one, first);
      const b = readFully(sys, two, second);
      if (!first.subarray(0, a).equals(second.subarray(0, b))) return false;
      if (a === 0) return true;
    }
  } finally {
    sys.close(one);
    sys.close(two);
  }
}

/** Reads until the buffer is full or the file ends. */
export function readFully(sys: FileCalls, fd: number, into: Buffer): number {
  let filled = 0;
  while (filled < into.length) {
    const bytes = sys.read(fd, into, filled, into.length - filled) ?? 0;
    if (bytes === 0) break;
    filled += bytes;
  }
  return filled;
}

function look(sys: FileCalls, parentFd: number, name: Buffer): FileStat | undefined {
  try {
    return sys.fstatat(parentFd, name, AT_SYMLINK_NOFOLLOW);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return undefined;
    throw err;
  }
}

function typeOf(stat: FileStat): number {
  return stat.mode & S_IFMT;
}
