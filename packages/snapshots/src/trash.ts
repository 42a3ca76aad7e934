/**
 * Removing trees: at once out of the way by rename, then deleted in the background.
 *
 * Deletion never recurses: it takes the directories of the trash one after another, unlinks what is in them and moves
 * their subdirectories up into the trash. So it holds one descriptor whatever the depth, resolves no path a container
 * chose, and goes on where it was after a crash: the trash is just directories to be deleted.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { openDirectory } from './directory-fd.ts';
import { hasErrno, ioError } from './errno.ts';

export class Trash {
  readonly #root: string;
  #running: Promise<void> | undefined;
  #failure: Error | undefined;

  /** `root` must be on the file system of what is thrown away; made when missing. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Moves a tree into the trash and starts deleting. Nothing happens when there is no such directory. */
  async take(directory: string): Promise<void> {
    try {
      await mkdir(this.#root, { recursive: true, mode: 0o700 });
      await rename(directory, path.join(this.#root, randomUUID()));
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return;
      throw ioError(err, `removing ${directory}`, directory);
    }
    this.empty();
  }

  /** Starts deleting what lies in the trash, when that is not under way. */
  empty(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when the trash is empty; rejects with the first failure since the last call. */
  async settled(): Promise<void> {
    this.empty();
    while (this.#running !== undefined) await this.#running;
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  async #run(): Promise<void> {
    const failed = new Set<string>();
    try {
      for (;;) {
        const names = (await this.#names()).filter((name) => !failed.has(name));
        if (names.length === 0) return;
        for (const name of names) {
          try {
            await this.#delete(path.join(this.#root, name));
          } catch (err) {
            failed.add(name);
            this.#failure ??= ioError(err, `deleting ${path.join(this.#root, name)}`, this.#root);
          }
        }
      }
    } catch (err) {
      this.#failure ??= ioError(err, `emptying ${this.#root}`, this.#root);
    } finally {
      this.#running = undefined;
    }
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#root);
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return [];
      throw err;
    }
  }

  async #delete(target: string): Promise<void> {
    const directory = await openDirectory(target).catch(async (err: unknown) => {
      if (!hasErrno(err, 'ENOTDIR', 'ELOOP')) throw err;
      await unlink(target);
      return undefined;
    });
    if (directory === undefined) return;
    try {
      for (const name of await directory.names()) {
        const entry = directory.entry(name);
        try {
          await unlink(entry);
        } catch (err) {
          // unlink(2) of a directory: EISDIR on Linux, EPERM elsewhere.
          if (!hasErrno(err, 'EISDIR', 'EPERM')) throw err;
          await rename(entry, path.join(this.#root, randomUUID()));
        }
      }
    } finally {
      await directory.close();
    }
    await rmdir(target);
  }
}
