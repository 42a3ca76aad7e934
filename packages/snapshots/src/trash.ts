/**
 * Removing trees: at once out of the way by rename, then deleted in the background.
 *
 *     take ─rename─► trash/<uuid> ─► small: deleted in one go ─► gone
 *                                 └► else: taken apart, step by step, on threads
 *
 * Taking apart never recurses: the directories of the trash are taken one after another, what is in them is unlinked and
 * their subdirectories are moved up into the trash. So it holds one descriptor whatever the depth, resolves no path a
 * container chose, and goes on where it was after a crash: the trash is just directories to be deleted.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, renameSync } from 'node:fs';
import { readdir, rename, rmdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hasErrno, ioError } from '@gantry/errors';
import { deleteSmallTree } from './delete-small-tree.ts';
import { openDirectory } from './directory-fd.ts';

/** A small tree takes half a millisecond on a disk that is not busy. */
const slowMs = 10;
const slowForMs = 1000;

export class Trash {
  readonly #root: string;
  /** What was taken and not looked at yet. */
  readonly #taken: string[] = [];
  /** There may be more in the trash than that. */
  #remains = false;
  #running: Promise<void> | undefined;
  #failure: Error | undefined;
  #slowUntil = 0;

  /** `root` must be on the file system of what is thrown away; made when missing. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Moves a tree into the trash and starts deleting. Nothing happens when there is no such directory. */
  take(directory: string): void {
    const place = path.join(this.#root, randomUUID());
    try {
      this.#moveTo(place, directory);
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return;
      throw ioError(err, `removing ${directory}`, directory);
    }
    this.#taken.push(place);
    this.#running ??= this.#run();
  }

  /** Starts deleting all that lies in the trash, also from earlier processes, when that is not under way. */
  empty(): void {
    this.#remains = true;
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

  #moveTo(place: string, directory: string): void {
    try {
      renameSync(directory, place);
    } catch (err) {
      if (!hasErrno(err, 'ENOENT')) throw err;
      mkdirSync(this.#root, { recursive: true, mode: 0o700 });
      renameSync(directory, place);
    }
  }

  async #run(): Promise<void> {
    try {
      do {
        // Whoever threw something away has his answer first.
        await nextTurn();
        const place = this.#taken.pop();
        if (place !== undefined) this.#remains ||= !this.#deleteAtOnce(place);
        else if (this.#remains) {
          this.#remains = false;
          await this.#takeApart();
        }
      } while (this.#taken.length > 0 || this.#remains);
    } catch (err) {
      this.#failure ??= ioError(err, `emptying ${this.#root}`, this.#root);
    } finally {
      this.#running = undefined;
    }
  }

  /** True when it is gone. While the disk makes unlinks wait for its journal, they wait on threads and not on the loop. */
  #deleteAtOnce(place: string): boolean {
    const start = performance.now();
    if (start < this.#slowUntil) return false;
    const isGone = deleteSmallTree(place);
    const end = performance.now();
    if (end - start > slowMs) this.#slowUntil = end + slowForMs;
    return isGone;
  }

  /** Until nothing is left that can be deleted. */
  async #takeApart(): Promise<void> {
    const failed = new Set<string>();
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
      if (hasErrno(err, 'ENOENT')) return undefined;
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
