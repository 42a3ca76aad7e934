/**
 * One copy, inside a worker: what a container wrote, stored with the host's ids, becomes a layer with the container's. Both
 * trees are reached by descriptors only, since the container may still be writing.
 */
import { mkdirSync } from 'node:fs';
import type { EntryHeader, EntryType } from '@gantry/archive';
import { invalidArgument, ioError } from '@gantry/errors';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  major,
  minor,
  MOUNT_ATTR_RDONLY,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  openMappedTree,
  S_IFDIR,
  S_IFMT,
} from '@gantry/libc';
import type { FileStat, Syscalls } from '@gantry/libc';
import type { CopyRequest } from './differ-types.ts';
import { EntryMaker } from './entry-maker.ts';
import { entryTypes } from './entry-types.ts';
import { joinPath } from './entry-path.ts';
import type { EntryPath } from './entry-path.ts';
import { reversedNamespace } from './id-maps.ts';
import { openTree } from './mounts.ts';
import { readFully } from './tree-changes.ts';

const readBytes = 1024 * 1024;

/**
 * Makes `to`, which must not exist, a copy of the upper directory `from` as the container sees it: owners, modes, times, links,
 * holes, attributes and overlayfs's own marks; sockets are left out. What belongs to an id that the container has not becomes
 * nobody's. After a failure a part of it is there; resource exhausted on a full disk.
 */
export async function copyLayer(sys: Syscalls, { from, to, maps }: CopyRequest): Promise<void> {
  const namespace = await reversedNamespace(sys, maps);
  let source: number;
  try {
    source = openMappedTree(sys, from, namespace, MOUNT_ATTR_RDONLY);
  } finally {
    sys.close(namespace);
  }
  try {
    mkdirSync(to, { mode: 0o700 });
    const tree = openTree(sys, to);
    try {
      const copier = new LayerCopier(sys, new EntryMaker(sys, tree, []), (path) => tree.directory(path));
      copier.copy(source);
      const { uid, gid, mode, atimeNs, mtimeNs } = sys.fstatat(source, '', AT_EMPTY_PATH);
      sys.fchownat(AT_FDCWD, to, uid, gid, AT_SYMLINK_NOFOLLOW);
      sys.fchmodat(AT_FDCWD, to, mode & 0o7777);
      sys.utimensat(AT_FDCWD, to, atimeNs, mtimeNs, AT_SYMLINK_NOFOLLOW);
    } finally {
      tree.close();
    }
  } catch (err) {
    throw ioError(err, `copying ${from}`, to);
  } finally {
    sys.close(source);
  }
}

class LayerCopier {
  readonly #sys: Syscalls;
  readonly #maker: EntryMaker;
  readonly #directoryMade: (path: EntryPath) => number;
  /** The first name of an inode that has several. */
  readonly #links = new Map<string, Buffer>();

  constructor(sys: Syscalls, maker: EntryMaker, directoryMade: (path: EntryPath) => number) {
    this.#sys = sys;
    this.#maker = maker;
    this.#directoryMade = directoryMade;
  }

  copy(source: number): void {
    const root = this.#sys.openat(source, '.', O_RDONLY | O_DIRECTORY);
    try {
      this.#directory(root, []);
      this.#maker.finish();
    } finally {
      this.#sys.close(root);
    }
  }

  #directory(fd: number, path: EntryPath): void {
    for (const name of this.#sys.readDirectory(fd)) {
      const stat = this.#sys.fstatat(fd, name, AT_SYMLINK_NOFOLLOW);
      this.#entry(fd, name, [...path, name], stat);
      if ((stat.mode & S_IFMT) !== S_IFDIR) continue;
      const inner = this.#sys.openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      try {
        this.#directory(inner, [...path, name]);
      } finally {
        this.#sys.close(inner);
      }
    }
  }

  #entry(parentFd: number, name: Buffer, path: EntryPath, stat: FileStat): void {
    const type = entryTypes.get(stat.mode & S_IFMT);
    if (type === undefined) return;
    const inode = `${stat.dev}:${stat.ino}`;
    const first = stat.nlink > 1 && type !== 'directory' ? this.#links.get(inode) : undefined;
    if (stat.nlink > 1 && first === undefined) this.#links.set(inode, joinPath(path));
    const node = this.#sys.openat(parentFd, name, O_PATH | O_NOFOLLOW);
    try {
      const attributes = this.#attributes(node);
      const linkName = first ?? (type === 'symlink' ? this.#sys.readlinkat(parentFd, name) : Buffer.alloc(0));
      const header = headerOf(path, first === undefined ? type : 'hardlink', stat, {
        linkName,
        xattrs: attributes.own,
      });
      const into = this.#maker.parent(path.slice(0, -1));
      this.#maker.begin(header, path, into);
      if (header.type === 'file') this.#content(parentFd, name, stat);
      this.#maker.end();
      this.#setMarks(path, attributes.marks);
    } finally {
      this.#maker.abandon();
      this.#sys.close(node);
    }
  }

  #content(parentFd: number, name: Buffer, { dev, ino }: FileStat): void {
    const fd = this.#sys.openat(parentFd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const now = this.#sys.fstat(fd);
      if (now.dev !== dev || now.ino !== ino)
        throw invalidArgument(`${name.toString()} was exchanged while it was copied`);
      const piece = Buffer.allocUnsafe(readBytes);
      for (let at = 0n; at < now.size;) {
        const data = this.#sys.seekData(fd, at) ?? now.size;
        if (data > at) this.#maker.hole(data - at);
        const length = data < now.size ? readFully(this.#sys, fd, piece) : 0;
        if (length > 0) this.#maker.write(piece.subarray(0, length));
        // It may have become shorter.
        else if (data < now.size) return;
        at = data + BigInt(length);
      }
    } finally {
      this.#sys.close(fd);
    }
  }

  /** The attributes that a layer's maker sets, and overlayfs's marks, which it leaves to overlayfs. */
  #attributes(node: number): { own: Map<string, Buffer>; marks: Map<string, Buffer> } {
    const [own, marks] = [new Map<string, Buffer>(), new Map<string, Buffer>()];
    for (const key of this.#sys.flistxattr(node)) {
      const value = this.#sys.fgetxattr(node, key);
      if (value !== undefined) (/^(?:trusted|user)\.overlay\./.test(key) ? marks : own).set(key, value);
    }
    return { own, marks };
  }

  #setMarks(path: EntryPath, marks: ReadonlyMap<string, Buffer>): void {
    const name = path.at(-1);
    if (marks.size === 0 || name === undefined) return;
    const node = this.#sys.openat(this.#directoryMade(path.slice(0, -1)), name, O_PATH | O_NOFOLLOW);
    try {
      for (const [key, value] of marks) this.#sys.fsetxattr(node, key, value, 0);
    } finally {
      this.#sys.close(node);
    }
  }
}

function headerOf(
  path: EntryPath,
  type: EntryType,
  stat: FileStat,
  more: Pick<EntryHeader, 'linkName' | 'xattrs'>,
): EntryHeader {
  const isDevice = type === 'character' || type === 'block';
  return {
    type,
    name: joinPath(path),
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    userName: '',
    groupName: '',
    size: type === 'file' ? stat.size : 0n,
    mtimeNs: stat.mtimeNs,
    atimeNs: stat.atimeNs,
    deviceMajor: isDevice ? major(stat.rdev) : 0,
    deviceMinor: isDevice ? minor(stat.rdev) : 0,
    ...more,
  };
}
