/**
 * Applying a layer: the entries of its tar become a tree (OCI image specification, layer.md; whiteouts as AUFS named
 * them). Two forms of the same rules:
 *
 *     form     │ the tree is                      │ `.wh.name`                 │ `.wh..wh..opq`
 *     naive    │ the whole root file system       │ removes `name`             │ removes what this layer did not bring
 *     overlay  │ the upper layer of an overlay    │ makes a 0:0 char device    │ sets the opaque attribute
 *
 * Whiteouts hide what is below this layer and nothing that the layer itself brings, wherever they stand in the tar.
 */
import type { EntryHeader, TarHandler } from '@gantry/archive';
import { GantryError, invalidArgument, ioError, messageOf, wrap } from '@gantry/errors';
import { isErrno, makedev, S_IFCHR, S_IFDIR, S_IFMT } from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';
import { cleanPath, pathKey, showPath } from './entry-path.ts';
import type { EntryPath } from './entry-path.ts';
import { EntryMaker, needLowers } from './entry-maker.ts';
import type { RootTree } from './root-tree.ts';

const whiteoutPrefix = Buffer.from('.wh.');
const metaPrefix = Buffer.from('.wh..wh.');
const opaqueName = Buffer.from('.wh..wh..opq');

export interface LayerTarget {
  readonly tree: RootTree;
  readonly form: 'naive' | 'overlay';
  /** `trusted.overlay.opaque`, or `user.overlay.opaque` for an overlay mounted with userxattr. */
  readonly opaqueAttribute: string;
  /**
   * The trees of the layers below, the nearest first; only where they are not visible in `tree`. Undefined when they are not
   * there yet: a layer that depends on them fails with `needsLowerLayers`.
   */
  readonly lowers: readonly RootTree[] | undefined;
}

/** Applies what a `TarParser` says; call `finish` when the parser has finished. Errors name the entry. */
export class LayerTar implements TarHandler {
  readonly #sys: FileCalls;
  readonly #target: LayerTarget;
  readonly #maker: EntryMaker;
  /** What this layer brought and the directories around it, by cleaned path: whiteouts leave it alone. */
  readonly #brought = new Set<string>();
  #current = '';
  #ignoring = true;

  constructor(sys: FileCalls, target: LayerTarget) {
    this.#sys = sys;
    this.#target = target;
    this.#maker = new EntryMaker(sys, target.tree, target.lowers);
  }

  entry(header: EntryHeader): void {
    this.#current = showPath(header.name);
    this.#ignoring = true;
    this.#named(() => this.#entry(header));
  }

  data(bytes: Uint8Array): void {
    if (!this.#ignoring) this.#named(() => this.#maker.write(bytes));
  }

  hole(length: bigint): void {
    if (!this.#ignoring) this.#named(() => this.#maker.hole(length));
  }

  end(): void {
    if (!this.#ignoring) this.#named(() => this.#maker.end());
  }

  /** Sets the times of directories, which unpacking into them has changed. */
  finish(): void {
    this.#current = 'directory times';
    this.#named(() => this.#maker.finish());
  }

  /** Closes an entry that was left half-written by a failure. */
  abandon(): void {
    this.#maker.abandon();
  }

  #entry(header: EntryHeader): void {
    const path = cleanPath(header.name);
    const name = path.at(-1);
    // The root itself is the snapshot's, not the layer's.
    if (name === undefined) return;
    const parent = path.slice(0, -1);
    if (name.subarray(0, metaPrefix.length).equals(metaPrefix)) {
      if (name.equals(opaqueName)) this.#opaque(parent);
      // AUFS's own files mean nothing here.
      return;
    }
    const parentFd = this.#maker.parent(parent);
    if (name.subarray(0, whiteoutPrefix.length).equals(whiteoutPrefix)) {
      this.#whiteout(header, parentFd, parent, name.subarray(whiteoutPrefix.length));
      return;
    }
    const replaced = this.#makeWay(header, parentFd, name);
    this.#maker.begin(header, path, parentFd);
    this.#bring(path);
    this.#ignoring = header.type !== 'file';
    if (this.#ignoring) this.#maker.end();
    // The directory below, which the whiteout hid, must not shine through the new one.
    if (replaced === 'whiteout' && header.type === 'directory') this.#setOpaque(path);
  }

  /** Removes what is in the way, unless old and new are directories, and says whether that was a whiteout. */
  #makeWay(header: EntryHeader, parentFd: number, name: Buffer): 'whiteout' | 'other' {
    const old = this.#target.tree.look(parentFd, name);
    if (old === undefined) return 'other';
    if (isDirectory(old) && header.type === 'directory') return 'other';
    this.#target.tree.remove(parentFd, name);
    return this.#target.form === 'overlay' && isWhiteout(old) ? 'whiteout' : 'other';
  }

  #whiteout(header: EntryHeader, parentFd: number, parent: EntryPath, hidden: Buffer): void {
    if (hidden.length === 0 || hidden.equals(Buffer.from('.')) || hidden.equals(Buffer.from('..'))) {
      throw invalidArgument('whiteout of nothing');
    }
    const path = [...parent, hidden];
    const old = this.#target.tree.look(parentFd, hidden);
    if (old !== undefined && this.#isBrought(path)) {
      // The layer's own entry stays; of a directory only what the layer brought.
      if (isDirectory(old)) this.#opaque(path);
      return;
    }
    this.#target.tree.remove(parentFd, hidden);
    if (this.#target.form === 'overlay') {
      this.#sys.mknodat(parentFd, hidden, S_IFCHR, 0n);
      this.#maker.setOwner(header, parentFd, hidden);
    }
  }

  #opaque(path: EntryPath): void {
    if (this.#target.form === 'naive') this.#clearForeign(path);
    else if (path.length === 0) this.#hideLowerRoot();
    else this.#setOpaque(path);
  }

  #setOpaque(path: EntryPath): void {
    this.#sys.fsetxattr(this.#maker.parent(path), this.#target.opaqueAttribute, Buffer.from('y'), 0);
  }

  /** The kernel does not look for the opaque attribute on an overlay's root: every name below it gets a whiteout. */
  #hideLowerRoot(): void {
    const dot = Buffer.from('.');
    const names = new Map<string, Buffer>();
    for (const lower of this.#target.lowers ?? needLowers()) {
      for (const name of lower.names(lower.directory([]), dot)) names.set(name.toString('latin1'), name);
    }
    const rootFd = this.#target.tree.directory([]);
    for (const [key, name] of names) {
      const old = this.#target.tree.look(rootFd, name);
      if (old === undefined) this.#sys.mknodat(rootFd, name, S_IFCHR, 0n);
      else if (isDirectory(old) && this.#brought.has(key)) this.#setOpaque([name]);
    }
  }

  /** Removes everything below a directory that this layer did not bring. */
  #clearForeign(path: EntryPath): void {
    const visit = (fd: number, at: EntryPath): void => {
      for (const name of this.#sys.readDirectory(fd)) {
        const child = [...at, name];
        const stat = this.#target.tree.look(fd, name);
        if (!this.#isBrought(child)) this.#target.tree.remove(fd, name);
        else if (stat !== undefined && isDirectory(stat))
          this.#target.tree.inside(fd, name, (inner) => visit(inner, child));
      }
    };
    let parentFd: number;
    try {
      parentFd = this.#target.tree.directory(path);
    } catch (err) {
      if (isErrno(err, 'ENOENT', 'ENOTDIR')) return;
      throw err;
    }
    this.#target.tree.inside(parentFd, Buffer.from('.'), (fd) => visit(fd, path));
  }

  /** Notes a path and every directory on the way to it. */
  #bring(path: EntryPath): void {
    for (let length = path.length; length > 0; length--) {
      const key = pathKey(path.slice(0, length));
      if (this.#brought.has(key)) return;
      this.#brought.add(key);
    }
  }

  #isBrought(path: EntryPath): boolean {
    return this.#brought.has(pathKey(path));
  }

  #named(fn: () => void): void {
    try {
      fn();
    } catch (err) {
      const subject = `tar entry ${this.#current}`;
      if (isErrno(err, 'ENAMETOOLONG', 'ELOOP', 'ENOTDIR'))
        throw invalidArgument(`${subject}: ${messageOf(err)}`, {}, err);
      throw err instanceof GantryError ? wrap(err, subject) : ioError(err, subject);
    }
  }
}

function isDirectory(stat: FileStat): boolean {
  return (stat.mode & S_IFMT) === S_IFDIR;
}

function isWhiteout(stat: FileStat): boolean {
  return (stat.mode & S_IFMT) === S_IFCHR && stat.rdev === makedev(0, 0);
}
