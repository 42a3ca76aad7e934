/** Making the entries of a layer: one node of the tree with its owner, attributes, mode and times, in that order. */
import type { EntryHeader } from '@gantry/archive';
import { failedPrecondition, invalidArgument, messageOf } from '@gantry/errors';
import { needsLowerLayers } from './differ-types.ts';
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  isErrno,
  makedev,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFMT,
} from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import { cleanPath, pathKey, showPath } from './entry-path.ts';
import type { EntryPath } from './entry-path.ts';
import type { RootTree } from './root-tree.ts';

/** (uid_t)-1 means "leave it" to chown(2), so as an owner it cannot be. */
const noId = 0xffff_ffff;
/** The latest time a 64-bit count of nanoseconds holds; what is outside becomes the epoch. */
const latestNs = 2n ** 63n - 1n;

interface Times {
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
}

interface CurrentEntry {
  readonly header: EntryHeader;
  readonly parentFd: number;
  readonly name: Buffer;
  /** The open file while its content is written. */
  readonly fd: number | undefined;
  /** How much of the content came, holes included. */
  position: bigint;
  /** Whether the last of it was a hole: the file has not been made longer yet. */
  isBehindHole: boolean;
}

/** So many zeros in a row are not written. */
const holeBytes = 64 * 1024;
const zeros = Buffer.alloc(holeBytes);

export class EntryMaker {
  readonly #sys: FileCalls;
  readonly #tree: RootTree;
  readonly #lowers: readonly RootTree[] | undefined;
  /** Directories whose times are set at the end, by path. */
  readonly #directoryTimes = new Map<string, { readonly path: EntryPath; readonly times: Times }>();
  #current: CurrentEntry | undefined;

  /** `lowers` are the trees of the layers below, asked how a directory that is missing in `tree` looks. */
  constructor(sys: FileCalls, tree: RootTree, lowers: readonly RootTree[] | undefined) {
    this.#sys = sys;
    this.#tree = tree;
    this.#lowers = lowers;
  }

  /** The directory an entry goes into, made when it is missing; good until the next call. */
  parent(path: EntryPath): number {
    return this.#tree.directoryMade(path, (parentFd, name, made) => this.#makeMissing(parentFd, name, made));
  }

  /** Makes the node; nothing but a directory may be in its place. Followed by `write` (files) and `end`. */
  begin(header: EntryHeader, path: EntryPath, parentFd: number): void {
    const name = path.at(-1) ?? Buffer.alloc(0);
    if (header.uid >= noId || header.gid >= noId) throw invalidArgument(`owner ${header.uid}:${header.gid}`);
    // A hard link's source may stand in another directory: resolving it drops the one that is remembered.
    const ownFd = header.type === 'hardlink' ? this.#hardlink(header, path, name) : parentFd;
    const fd = header.type === 'hardlink' ? undefined : this.#makeNode(header, ownFd, name);
    this.#current = { header, parentFd: ownFd, name, fd, position: 0n, isBehindHole: false };
    if (header.type === 'directory') {
      this.#directoryTimes.set(pathKey(path), { path, times: timesOf(header) });
    }
  }

  /** The next bytes of the file; long runs of zeros become holes. */
  write(bytes: Uint8Array): void {
    const entry = this.#current;
    if (entry === undefined) return;
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let start = 0;
    for (let at = 0; at + holeBytes <= buffer.length; at += holeBytes) {
      if (buffer.compare(zeros, 0, holeBytes, at, at + holeBytes) !== 0) continue;
      this.#write(entry, buffer, start, at);
      this.hole(BigInt(holeBytes));
      start = at + holeBytes;
    }
    this.#write(entry, buffer, start, buffer.length);
  }

  /** So many zeros that take no room. */
  hole(length: bigint): void {
    const entry = this.#current;
    if (entry === undefined) return;
    entry.position += length;
    entry.isBehindHole = true;
  }

  #write(entry: CurrentEntry, buffer: Buffer, start: number, end: number): void {
    if (entry.fd === undefined || start === end) return;
    if (entry.isBehindHole) this.#sys.seek(entry.fd, entry.position);
    entry.isBehindHole = false;
    for (let done = start; done < end;) done += this.#sys.write(entry.fd, buffer, done, end - done) ?? 0;
    entry.position += BigInt(end - start);
  }

  /** Gives the node everything else: owner first, since changing it takes setuid bits and capabilities away. */
  end(): void {
    const entry = this.#current;
    if (entry === undefined) return;
    try {
      if (entry.fd !== undefined && entry.isBehindHole) this.#sys.ftruncate(entry.fd, entry.position);
      this.setOwner(entry.header, entry.parentFd, entry.name);
      this.#finishNode(entry);
    } finally {
      this.abandon();
    }
  }

  /** lchown of an entry to what its header says. */
  setOwner(header: EntryHeader, parentFd: number, name: Buffer): void {
    try {
      this.#sys.fchownat(parentFd, name, header.uid, header.gid, AT_SYMLINK_NOFOLLOW);
    } catch (err) {
      if (!isErrno(err, 'EOVERFLOW')) throw err;
      throw invalidArgument(`owner ${header.uid}:${header.gid} is not in the id map of the snapshot`, {}, err);
    }
  }

  /** Closes the current entry. */
  abandon(): void {
    if (this.#current?.fd !== undefined) this.#sys.close(this.#current.fd);
    this.#current = undefined;
  }

  /** Sets the directories' times. What is gone again or no longer a directory is passed over. */
  finish(): void {
    for (const { path, times } of this.#directoryTimes.values()) {
      const name = path.at(-1);
      if (name === undefined) continue;
      try {
        const parentFd = this.#tree.directory(path.slice(0, -1));
        const stat = this.#tree.look(parentFd, name);
        if (stat !== undefined && (stat.mode & S_IFMT) === S_IFDIR) this.#setTimes(parentFd, name, times);
      } catch (err) {
        if (!isErrno(err, 'ENOENT', 'ENOTDIR')) throw err;
      }
    }
  }

  /** The descriptor of the file opened for its content, undefined for everything else. */
  #makeNode(header: EntryHeader, parentFd: number, name: Buffer): number | undefined {
    const device = makedev(header.deviceMajor, header.deviceMinor);
    switch (header.type) {
      case 'file':
        return this.#sys.openat(parentFd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
      case 'directory':
        this.#mkdir(parentFd, name);
        return undefined;
      case 'symlink':
        if (header.linkName.length === 0) throw invalidArgument('symbolic link to nothing');
        this.#sys.symlinkat(header.linkName, parentFd, name);
        return undefined;
      case 'character':
        this.#sys.mknodat(parentFd, name, S_IFCHR | 0o600, device);
        return undefined;
      case 'block':
        this.#sys.mknodat(parentFd, name, S_IFBLK | 0o600, device);
        return undefined;
      case 'fifo':
        this.#sys.mknodat(parentFd, name, S_IFIFO | 0o600, 0n);
        return undefined;
      case 'hardlink':
        return undefined;
    }
  }

  /** Links to a node inside the root, a symbolic link itself included. Gives the link's own directory, opened anew. */
  #hardlink(header: EntryHeader, path: EntryPath, name: Buffer): number {
    const source = cleanPath(header.linkName);
    const sourceName = source.at(-1);
    if (sourceName === undefined) throw invalidArgument('hard link to the root');
    let sourceFd: number | undefined;
    try {
      sourceFd = this.#sys.dup(this.#tree.directory(source.slice(0, -1)));
      const parentFd = this.parent(path.slice(0, -1));
      this.#sys.linkat(sourceFd, sourceName, parentFd, name, 0);
      return parentFd;
    } catch (err) {
      if (!isErrno(err, 'ENOENT', 'EPERM')) throw err;
      throw invalidArgument(`hard link to ${showPath(header.linkName)}: ${messageOf(err)}`, {}, err);
    } finally {
      if (sourceFd !== undefined) this.#sys.close(sourceFd);
    }
  }

  #finishNode({ header, parentFd, name, fd }: CurrentEntry): void {
    if (header.type === 'symlink' && header.xattrs.size === 0) {
      this.#setTimes(parentFd, name, timesOf(header));
      return;
    }
    const node = fd ?? this.#sys.openat(parentFd, name, O_PATH | O_NOFOLLOW);
    try {
      const special = header.type !== 'file' && header.type !== 'directory';
      for (const [key, value] of header.xattrs) this.#setAttribute(node, key, value, special);
      if (fd !== undefined) this.#sys.fchmod(fd, header.mode);
      else if (header.type !== 'symlink') this.#changeMode(header, node);
    } finally {
      if (fd === undefined) this.#sys.close(node);
    }
    if (header.type !== 'directory') this.#setTimes(parentFd, name, timesOf(header));
  }

  /** chmod through the descriptor: what it stands for cannot be exchanged, and a symbolic link is not followed. */
  #changeMode(header: EntryHeader, node: number): void {
    try {
      this.#sys.fchmodat(AT_FDCWD, `/proc/self/fd/${node}`, header.mode);
    } catch (err) {
      // A hard link to a symbolic link has no mode to change.
      if (header.type !== 'hardlink' || !isErrno(err, 'ELOOP', 'EOPNOTSUPP')) throw err;
    }
  }

  /** Attributes of the host's own machinery are not a layer's to set; those a file system does not take are left out. */
  #setAttribute(node: number, key: string, value: Buffer, special: boolean): void {
    if (key.startsWith('trusted.') || key.startsWith('user.overlay.')) return;
    try {
      this.#sys.fsetxattr(node, key, value, 0);
    } catch (err) {
      if (isErrno(err, 'EOPNOTSUPP', 'ENOTSUP')) return;
      if (special && key.startsWith('user.') && isErrno(err, 'EPERM')) return;
      throw err;
    }
  }

  #mkdir(parentFd: number, name: Buffer): void {
    try {
      this.#sys.mkdirat(parentFd, name, 0o700);
    } catch (err) {
      if (!isErrno(err, 'EEXIST')) throw err;
    }
  }

  /** A directory the archive does not bring: as the nearest layer below has it, else 0755 and root's. */
  #makeMissing(parentFd: number, name: Buffer, path: EntryPath): void {
    const lowers = this.#lowers ?? needLowers();
    this.#sys.mkdirat(parentFd, name, 0o755);
    const node = this.#sys.openat(parentFd, name, O_PATH | O_NOFOLLOW);
    try {
      this.#sys.fchmodat(AT_FDCWD, `/proc/self/fd/${node}`, 0o755);
      for (const lower of lowers) if (this.#copyFrom(lower, path, parentFd, name, node)) break;
    } finally {
      this.#sys.close(node);
    }
  }

  #copyFrom(lower: RootTree, path: EntryPath, parentFd: number, name: Buffer, node: number): boolean {
    let model: number;
    try {
      model = lower.directory(path);
    } catch (err) {
      if (isErrno(err, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false;
      throw err;
    }
    const stat = this.#sys.fstat(model);
    this.#sys.fchownat(parentFd, name, stat.uid, stat.gid, AT_SYMLINK_NOFOLLOW);
    for (const key of this.#sys.flistxattr(model)) {
      const value = this.#sys.fgetxattr(model, key);
      if (value !== undefined) this.#setAttribute(node, key, value, false);
    }
    this.#sys.fchmodat(AT_FDCWD, `/proc/self/fd/${node}`, stat.mode & 0o7777);
    this.#directoryTimes.set(pathKey(path), { path, times: { atimeNs: stat.atimeNs, mtimeNs: stat.mtimeNs } });
    return true;
  }

  #setTimes(parentFd: number, name: Buffer, { atimeNs, mtimeNs }: Times): void {
    this.#sys.utimensat(parentFd, name, atimeNs, mtimeNs, AT_SYMLINK_NOFOLLOW);
  }
}

/** The later of access and modification time counts as the access time. */
function timesOf(header: EntryHeader): Times {
  const mtimeNs = bounded(header.mtimeNs);
  const atimeNs = bounded(header.atimeNs ?? 0n);
  return { mtimeNs, atimeNs: atimeNs > mtimeNs ? atimeNs : mtimeNs };
}

function bounded(ns: bigint): bigint {
  return ns < 0n || ns > latestNs ? 0n : ns;
}

/** The layers below are not there yet, and this one cannot do without. */
export function needLowers(): never {
  throw failedPrecondition('a layer that depends on the ones below it', { [needsLowerLayers]: true });
}
