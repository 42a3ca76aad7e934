/** What all snapshotters that keep trees as directories have in common: `<root>/snapshots/<id>`, made by rename. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, renameSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { hasErrno, ioError } from '@gantry/errors';
import { Trash } from './trash.ts';

const run = promisify(execFile);

/** Prefix of directories under construction; they are leftovers when found later. */
const newPrefix = 'new-';
const idPattern = /^[1-9][0-9]*$/;

/** syncfs of a slow disk may take long; past this it is tried again. */
const syncTimeoutMs = 120_000;

export class TreeDirectories {
  readonly root: string;
  readonly #trees: string;
  readonly #trash: Trash;

  /** `root` is the snapshotter's own directory. */
  constructor(root: string) {
    this.root = root;
    this.#trees = path.join(root, 'snapshots');
    this.#trash = new Trash(path.join(root, 'trash'));
  }

  pathOf(id: string): string {
    return path.join(this.#trees, id);
  }

  /**
   * Makes `<id>`: `fill` gets a directory (0700) to put things into, which then gets its name. A leftover of the same id is
   * replaced. When `fill` fails nothing stays. The few calls of its own are made on the event loop: a thread takes longer to
   * be woken than they take.
   */
  async make(id: string, fill: (directory: string) => Promise<void> | void): Promise<void> {
    const temporary = path.join(this.#trees, `${newPrefix}${randomUUID()}`);
    try {
      this.#begin(temporary);
      await fill(temporary);
      this.#finish(temporary, id);
    } catch (err) {
      try {
        this.#trash.take(temporary);
      } catch {
        // The next start finds it; what went wrong first is worth more.
      }
      throw ioError(err, `making snapshot directory ${this.pathOf(id)}`, this.pathOf(id));
    }
  }

  remove(id: string): void {
    this.#trash.take(this.pathOf(id));
  }

  /** Throws a part of a tree away. Nothing happens when it is not there. */
  discard(directory: string): void {
    this.#trash.take(directory);
  }

  /** Ids on disk; unfinished directories go to the trash, which is emptied in the background. */
  async list(): Promise<string[]> {
    const names = await readdir(this.#trees).catch((err: unknown) => {
      if (hasErrno(err, 'ENOENT')) return [];
      throw ioError(err, `listing ${this.#trees}`, this.#trees);
    });
    for (const name of names) if (name.startsWith(newPrefix)) this.#trash.take(this.pathOf(name));
    this.#trash.empty();
    return names.filter((name) => idPattern.test(name));
  }

  async cleanup(): Promise<void> {
    await this.list();
    await this.#trash.settled();
  }

  #begin(directory: string): void {
    try {
      mkdirSync(directory, { mode: 0o700 });
    } catch (err) {
      if (!hasErrno(err, 'ENOENT')) throw err;
      mkdirSync(this.#trees, { recursive: true, mode: 0o700 });
      mkdirSync(directory, { mode: 0o700 });
    }
  }

  #finish(directory: string, id: string): void {
    try {
      renameSync(directory, this.pathOf(id));
    } catch (err) {
      if (!hasErrno(err, 'ENOTEMPTY', 'EEXIST')) throw err;
      this.#trash.take(this.pathOf(id));
      renameSync(directory, this.pathOf(id));
    }
  }

  /** syncfs(2) of the file system, by sync(1): the call can take seconds and must not be made on the event loop. */
  async sync(): Promise<void> {
    try {
      await run('sync', ['-f', this.root], { timeout: syncTimeoutMs });
    } catch (err) {
      throw ioError(err, `syncing the file system of ${this.root}`, this.root);
    }
  }
}

/** mkdir(2) with exactly this mode, whatever the umask is. */
export function makeDirectory(directory: string, mode: number): void {
  mkdirSync(directory, { mode });
  chmodSync(directory, mode);
}
