/**
 * Changes as a layer: the entries of a tar, reproducibly. Names relative, directories with a slash, owners by number,
 * modification times cut to seconds, no other times, no attributes but capabilities; what is gone is an empty
 * `.wh.<name>`; in front of every entry the directories that lead to it.
 */
import { tarEnd, tarHeader, tarPadding } from '@gantry/archive';
import type { EntryType, NewEntry } from '@gantry/archive';
import { unavailable } from '@gantry/errors';
import { major, minor, O_NOFOLLOW, O_RDONLY, S_IFMT } from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';
import { entryTypes } from './entry-types.ts';
import { joinPath, pathKey, showPath } from './entry-path.ts';
import type { EntryPath } from './entry-path.ts';
import { capabilityAttribute, readCapability, readFully } from './tree-changes.ts';
import type { Change } from './tree-changes.ts';

const billion = 1_000_000_000n;
const readBytes = 256 * 1024;

/** Turns changes, parents before children, into the bytes of a tar. Give it the stat of directories by `directoryOf`. */
export class ChangeTar {
  readonly #sys: FileCalls;
  readonly #directoryOf: (path: EntryPath) => FileStat;
  readonly #latestNs: bigint | undefined;
  readonly #directories = new Set<string>();
  /** Inode → the name under which its content stands in the layer. */
  readonly #sources = new Map<string, Buffer>();
  /** Inode → names that did not change, should another name of it turn out to have. */
  readonly #unchanged = new Map<string, EntryPath[]>();

  /** `sourceDateEpoch` in seconds: later times are set to it. */
  constructor(sys: FileCalls, directoryOf: (path: EntryPath) => FileStat, sourceDateEpoch: bigint | undefined) {
    this.#sys = sys;
    this.#directoryOf = directoryOf;
    this.#latestNs = sourceDateEpoch === undefined ? undefined : sourceDateEpoch * billion;
  }

  /** The bytes of one change. */
  *change(change: Change): Generator<Buffer> {
    const { kind, path, stat } = change;
    if (kind === 'deleted') {
      yield* this.#parents(path);
      yield tarHeader({ type: 'file', name: whiteoutName(path), mode: 0 });
    } else if (kind === 'same') {
      yield* this.#unchangedLink(path, stat);
    } else {
      yield* this.#entry(change);
    }
  }

  /** The end of the archive. */
  end(): Buffer {
    return tarEnd;
  }

  *#entry({ path, stat, parentFd }: Change): Generator<Buffer> {
    const type = entryTypes.get(stat.mode & S_IFMT);
    const name = path.at(-1);
    if (type === undefined || name === undefined) return;
    yield* this.#parents(path);
    const header = this.#header(path, stat, type);
    if (type === 'directory') {
      this.#directories.add(pathKey(path));
      yield tarHeader({ ...header, ...this.#capability(parentFd, name) });
      return;
    }
    const inode = `${stat.dev}:${stat.ino}`;
    const source = stat.nlink > 1 ? this.#sources.get(inode) : undefined;
    if (source !== undefined) {
      yield tarHeader({ ...header, type: 'hardlink', linkName: source, size: 0n });
      return;
    }
    if (type === 'file') yield* this.#file(header, stat, parentFd, name);
    else yield tarHeader(type === 'symlink' ? { ...header, linkName: this.#sys.readlinkat(parentFd, name) } : header);
    if (stat.nlink < 2) return;
    this.#sources.set(inode, joinPath(path));
    for (const other of this.#unchanged.get(inode) ?? []) yield* this.#unchangedLink(other, stat);
    this.#unchanged.delete(inode);
  }

  /** A name that did not change, of an inode that did: without it the link would be lost. */
  *#unchangedLink(path: EntryPath, stat: FileStat): Generator<Buffer> {
    const inode = `${stat.dev}:${stat.ino}`;
    const source = this.#sources.get(inode);
    if (source === undefined) {
      this.#unchanged.set(inode, [...(this.#unchanged.get(inode) ?? []), path]);
      return;
    }
    const type = entryTypes.get(stat.mode & S_IFMT);
    if (type === undefined) return;
    yield* this.#parents(path);
    yield tarHeader({ ...this.#header(path, stat, type), type: 'hardlink', linkName: source, size: 0n });
  }

  *#file(header: NewEntry, stat: FileStat, parentFd: number, name: Buffer): Generator<Buffer> {
    yield tarHeader({ ...header, size: stat.size, ...this.#capability(parentFd, name) });
    const fd = this.#sys.openat(parentFd, name, O_RDONLY | O_NOFOLLOW);
    try {
      for (let left = stat.size; left > 0n;) {
        const piece = Buffer.allocUnsafe(left < BigInt(readBytes) ? Number(left) : readBytes);
        if (readFully(this.#sys, fd, piece) < piece.length) {
          throw unavailable(`${showPath(joinPath([name]))} became shorter while it was read`);
        }
        left -= BigInt(piece.length);
        yield piece;
      }
    } finally {
      this.#sys.close(fd);
    }
    yield tarPadding(stat.size);
  }

  *#parents(path: EntryPath): Generator<Buffer> {
    for (let length = 1; length < path.length; length++) {
      const parent = path.slice(0, length);
      const key = pathKey(parent);
      if (this.#directories.has(key)) continue;
      this.#directories.add(key);
      yield tarHeader(this.#header(parent, this.#directoryOf(parent), 'directory'));
    }
  }

  #header(path: EntryPath, stat: FileStat, type: EntryType): NewEntry {
    const seconds = stat.mtimeNs - (stat.mtimeNs % billion);
    const device = type === 'character' || type === 'block';
    return {
      type,
      name: joinPath(path),
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
      mtimeNs: this.#latestNs !== undefined && seconds > this.#latestNs ? this.#latestNs : seconds,
      deviceMajor: device ? major(stat.rdev) : 0,
      deviceMinor: device ? minor(stat.rdev) : 0,
    };
  }

  #capability(parentFd: number, name: Buffer): Pick<NewEntry, 'xattrs'> {
    const value = readCapability(this.#sys, parentFd, name);
    return value === undefined || value.length === 0 ? {} : { xattrs: new Map([[capabilityAttribute, value]]) };
  }
}

function whiteoutName(path: EntryPath): Buffer {
  const name = path.at(-1) ?? Buffer.alloc(0);
  return joinPath([...path.slice(0, -1), Buffer.concat([Buffer.from('.wh.'), name])]);
}
