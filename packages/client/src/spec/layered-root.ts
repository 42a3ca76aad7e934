/**
 * Reads a small file out of a snapshot without mounting it, as the container would see it.
 *
 * A snapshot's mounts are one bind of a directory, or one overlay of an upper and lower directories. A directory of
 * the merged tree is then a list of real directories, nearest first; a name is looked up in each until one has it.
 * Overlay's marks are honoured: a 0:0 character device hides the name, `trusted.overlay.opaque=y` hides a directory
 * of the same name further down (Documentation/filesystems/overlayfs.rst of the kernel).
 *
 * The content is hostile. Every step is one openat(2) of one component with O_NOFOLLOW relative to an open directory;
 * symlinks are followed here, in the merged tree, where `..` ends at the root. Nothing is resolved by the host.
 */
import { failedPrecondition, invalidArgument, resourceExhausted } from '@gantry/errors';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  isErrno,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';

/** As the kernel's limit for one path. */
const maxSymlinks = 40;

/** The second is what overlays made inside a user namespace carry. */
const opaqueMarks = ['trusted.overlay.opaque', 'user.overlay.opaque'];

/** One mount of a snapshot, as the snapshotter describes it. */
export interface SnapshotMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/**
 * The directories a snapshot's mounts are made of, nearest first.
 * Throws failed precondition when the mounts are of another kind (a block device, a remote file system).
 */
export function layerDirectories(mounts: readonly SnapshotMount[]): string[] {
  const [mount] = mounts;
  if (mount === undefined || mounts.length > 1) {
    throw failedPrecondition(`the snapshot has ${mounts.length} mounts instead of one`);
  }
  if (mount.type === 'bind') return [mount.source];
  if (mount.type !== 'overlay') throw failedPrecondition(`a snapshot of type ${mount.type} must be mounted to be read`);
  const value = (key: string): string | undefined =>
    mount.options.find((option) => option.startsWith(`${key}=`))?.slice(key.length + 1);
  const upper = value('upperdir');
  const lower = (value('lowerdir') ?? '').split(':').filter((dir) => dir !== '');
  return upper === undefined ? lower : [upper, ...lower];
}

/** A directory of the merged tree: descriptors of the real directories, nearest first. */
type MergedDirectory = readonly number[];

/**
 * The text of a regular file in the merged tree of `directories`, or undefined when there is none. The path is
 * absolute in the container. Throws resource exhausted above `limitBytes`.
 */
export function readFromLayers(
  sys: FileCalls,
  directories: readonly string[],
  path: string,
  limitBytes: number,
): string | undefined {
  return new LayerWalk(sys).run(directories, path, limitBytes);
}

/** True when the merged tree of `directories` has something at the path, which may be a symlink to nowhere. */
export function existsInLayers(sys: FileCalls, directories: readonly string[], path: string): boolean {
  return new LayerWalk(sys).has(directories, path);
}

/** One lookup; it owns every descriptor it opens and closes them all at its end. */
class LayerWalk {
  private readonly sys: FileCalls;
  private readonly opened: number[] = [];

  constructor(sys: FileCalls) {
    this.sys = sys;
  }

  run(directories: readonly string[], path: string, limitBytes: number): string | undefined {
    try {
      const root = directories.map((dir) => this.open(AT_FDCWD, dir, O_PATH | O_DIRECTORY));
      const file = this.resolve(root, path);
      return file === undefined ? undefined : this.readFile(file.parent, file.name, limitBytes);
    } finally {
      for (const fd of this.opened) this.sys.close(fd);
    }
  }

  has(directories: readonly string[], path: string): boolean {
    const names = components(path);
    const last = names.pop();
    if (last === undefined) return true;
    try {
      let here: MergedDirectory = directories.map((dir) => this.open(AT_FDCWD, dir, O_PATH | O_DIRECTORY));
      for (const name of names) {
        const found = this.find(here, name);
        if (found?.type !== S_IFDIR) return false;
        here = this.merge(here, found.layer, name);
      }
      return this.find(here, last) !== undefined;
    } finally {
      for (const fd of this.opened) this.sys.close(fd);
    }
  }

  private open(dirfd: number, name: string, flags: number): number {
    const fd = this.sys.openat(dirfd, name, flags);
    this.opened.push(fd);
    return fd;
  }

  /** Where the path ends after every symlink: the real directory and the name in it. */
  private resolve(root: MergedDirectory, path: string): { parent: number; name: string } | undefined {
    const stack: MergedDirectory[] = [root];
    const pending = components(path);
    let symlinks = 0;
    for (let name = pending.shift(); name !== undefined; name = pending.shift()) {
      if (name === '..') {
        if (stack.length > 1) stack.pop();
        continue;
      }
      const here = stack.at(-1) ?? root;
      const found = this.find(here, name);
      if (found === undefined) return undefined;
      if (found.type === S_IFLNK) {
        symlinks += 1;
        if (symlinks > maxSymlinks) throw invalidArgument(`too many symbolic links in "${path}" of the image`);
        const target = this.sys.readlinkat(found.fd, '').toString();
        if (target.startsWith('/')) stack.splice(1);
        pending.unshift(...components(target));
      } else if (found.type === S_IFDIR) {
        stack.push(this.merge(here, found.layer, name));
      } else {
        return pending.length === 0 && found.type === S_IFREG ? { parent: found.parent, name } : undefined;
      }
    }
    return undefined;
  }

  /** The nearest entry of that name; undefined when there is none or the nearest one is a whiteout. */
  private find(
    directory: MergedDirectory,
    name: string,
  ): { fd: number; parent: number; layer: number; type: number } | undefined {
    for (const [layer, parent] of directory.entries()) {
      const fd = this.tryOpen(parent, name, O_PATH | O_NOFOLLOW);
      if (fd === undefined) continue;
      const stat = this.sys.fstatat(fd, '', AT_EMPTY_PATH);
      const type = stat.mode & S_IFMT;
      if (type === S_IFCHR && stat.rdev === 0n) return undefined;
      return { fd, parent, layer, type };
    }
    return undefined;
  }

  /** The directory `name` as merged from `layer` downwards, up to an opaque one or one hidden by another type. */
  private merge(directory: MergedDirectory, layer: number, name: string): MergedDirectory {
    const merged: number[] = [];
    for (const parent of directory.slice(layer)) {
      const fd = this.tryOpen(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (fd === undefined) {
        if (this.tryOpen(parent, name, O_PATH | O_NOFOLLOW) !== undefined) break;
        continue;
      }
      merged.push(fd);
      if (opaqueMarks.some((mark) => this.sys.fgetxattr(fd, mark)?.toString() === 'y')) break;
    }
    return merged;
  }

  private tryOpen(dirfd: number, name: string, flags: number): number | undefined {
    try {
      return this.open(dirfd, name, flags);
    } catch (err) {
      if (isErrno(err, 'ENOENT') || isErrno(err, 'ENOTDIR') || isErrno(err, 'ELOOP')) return undefined;
      throw err;
    }
  }

  private readFile(parent: number, name: string, limitBytes: number): string {
    // O_NONBLOCK: should the name have become a fifo meanwhile, nobody waits for it.
    const fd = this.open(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if ((this.sys.fstat(fd).mode & S_IFMT) !== S_IFREG) throw failedPrecondition(`"${name}" is not a regular file`);
    const buffer = Buffer.alloc(limitBytes + 1);
    let length = 0;
    while (length < buffer.length) {
      const read = this.sys.read(fd, buffer, length, buffer.length - length) ?? 0;
      if (read === 0) return buffer.toString('utf8', 0, length);
      length += read;
    }
    throw resourceExhausted(`"${name}" of the image is larger than ${limitBytes} bytes`);
  }
}

function components(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}
