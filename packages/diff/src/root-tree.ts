/**
 * A directory tree that a stranger's archive is unpacked into. Everything below the root is reached by descriptors that
 * openat2(2) resolved with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS: `..`, absolute and symbolic links end inside,
 * whatever is swapped meanwhile. No path below the root is ever given to another call.
 */
import { failedPrecondition, invalidArgument } from '@gantry/errors';
import {
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  isErrno,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
} from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';
import { dotdot, joinPath, pathKey, showPath, splitPath } from './entry-path.ts';
import type { EntryPath } from './entry-path.ts';

const slash = 0x2f;

/** As many symbolic links as the kernel follows in one path, and then some: layers are built by tools. */
const maximumLinks = 255;

/** How a directory that an entry needs and the archive does not bring comes to be. */
export type MakeMissing = (parentFd: number, name: Buffer, path: EntryPath) => void;

export class RootTree {
  readonly #sys: FileCalls;
  readonly #rootFd: number;
  /** The directory of the entry before: archives come sorted, mostly. */
  #cached: { readonly key: string; readonly fd: number } | undefined;

  /** Takes over `rootFd`, a directory. */
  constructor(sys: FileCalls, rootFd: number) {
    this.#sys = sys;
    this.#rootFd = rootFd;
  }

  /**
   * A descriptor (O_PATH) of a directory, symbolic links followed inside the root; good until the next call. Throws
   * ENOENT when it does not exist.
   */
  directory(path: EntryPath): number {
    const key = pathKey(path);
    if (this.#cached?.key === key) return this.#cached.fd;
    const fd = this.#open(path, O_PATH | O_DIRECTORY);
    this.forget();
    this.#cached = { key, fd };
    return fd;
  }

  /** As `directory`; what is missing on the way is made by `makeMissing`. */
  directoryMade(path: EntryPath, makeMissing: MakeMissing): number {
    try {
      return this.directory(path);
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw err;
    }
    return this.directory(this.#makeAlong(path, makeMissing));
  }

  /** Drops the remembered directory: to be called when a name was taken away or changed its meaning. */
  forget(): void {
    if (this.#cached !== undefined) this.#sys.close(this.#cached.fd);
    this.#cached = undefined;
  }

  /** What an entry is, symbolic links not followed; undefined when there is none. */
  look(parentFd: number, name: Buffer): FileStat | undefined {
    try {
      return this.#sys.fstatat(parentFd, name, AT_SYMLINK_NOFOLLOW);
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return undefined;
      throw err;
    }
  }

  /** The names in a directory. */
  names(parentFd: number, name: Buffer): Buffer[] {
    const fd = this.#sys.openat(parentFd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      return this.#sys.readDirectory(fd);
    } finally {
      this.#sys.close(fd);
    }
  }

  /** Removes an entry and everything below it; nothing happens when there is none. */
  remove(parentFd: number, name: Buffer): void {
    this.#remove(parentFd, name);
    // Last, because `parentFd` may be the remembered one.
    if (this.#cached?.fd !== parentFd) this.forget();
  }

  /** Calls `fn` with a readable descriptor of the directory `name`. */
  inside<T>(parentFd: number, name: Buffer, fn: (fd: number) => T): T {
    const fd = this.#sys.openat(parentFd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      return fn(fd);
    } finally {
      this.#sys.close(fd);
    }
  }

  close(): void {
    this.forget();
    this.#sys.close(this.#rootFd);
  }

  #open(path: EntryPath, flags: number): number {
    return this.#sys.openat2(this.#rootFd, joinPath(path), {
      flags,
      resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    });
  }

  #remove(parentFd: number, name: Buffer): void {
    try {
      this.#sys.unlinkat(parentFd, name, 0);
      return;
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return;
      if (!isErrno(err, 'EISDIR', 'EPERM')) throw err;
    }
    this.inside(parentFd, name, (fd) => {
      for (const child of this.#sys.readDirectory(fd)) this.#remove(fd, child);
    });
    this.#sys.unlinkat(parentFd, name, AT_REMOVEDIR);
  }

  /**
   * Walks a path component by component, making directories that are missing, also behind a dangling symbolic link.
   * Gives the path without links that was arrived at.
   */
  #makeAlong(path: EntryPath, makeMissing: MakeMissing): EntryPath {
    const done: Buffer[] = [];
    const todo = [...path];
    let links = 0;
    for (let name = todo.shift(); name !== undefined; name = todo.shift()) {
      if (name.equals(dotdot)) {
        done.pop();
        continue;
      }
      const parentFd = this.directory(done);
      const stat = this.look(parentFd, name);
      if (stat === undefined) makeMissing(parentFd, name, [...done, name]);
      const type = stat === undefined ? S_IFDIR : stat.mode & S_IFMT;
      if (type === S_IFDIR) {
        done.push(name);
      } else if (type === S_IFLNK) {
        links += 1;
        if (links > maximumLinks) throw invalidArgument(`too many symbolic links in ${showPath(path)}`);
        const target = this.#sys.readlinkat(parentFd, name);
        if (target[0] === slash) done.length = 0;
        todo.unshift(...splitPath(target));
      } else {
        throw failedPrecondition(`${showPath([...done, name])} is not a directory`);
      }
    }
    return done;
  }
}
