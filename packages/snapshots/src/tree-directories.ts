/** What all snapshotters that keep trees as directories have in common: `<root>/snapshots/<id>`, made by rename. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, open, readdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { hasErrno, ioError } from './errno.ts';
import { Trash } from './trash.ts';

const run = promisify(execFile);

/** Prefix of directories under construction; they are leftovers when found later. */
const newPrefix = 'new-';
const idPattern = /^[1-9][0-9]*$/;

/** syncfs of a slow disk may take long; past this the commit fails and can be repeated. */
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
   * Makes `<id>`: `fill` gets a directory (0700) to put things into, which then gets its name and is made durable. A
   * leftover of the same id is replaced. When `fill` fails nothing stays.
   */
  async make(id: string, fill: (directory: string) => Promise<void>): Promise<void> {
    const temporary = path.join(this.#trees, `${newPrefix}${randomUUID()}`);
    try {
      await mkdir(this.#trees, { recursive: true, mode: 0o700 });
      await mkdir(temporary, { mode: 0o700 });
      await fill(temporary);
      await this.#trash.take(this.pathOf(id));
      await rename(temporary, this.pathOf(id));
      await syncDirectory(this.#trees);
    } catch (err) {
      await this.#trash.take(temporary).catch(() => undefined);
      throw ioError(err, `making snapshot directory ${this.pathOf(id)}`, this.pathOf(id));
    }
  }

  async remove(id: string): Promise<void> {
    await this.#trash.take(this.pathOf(id));
  }

  /** Ids on disk; unfinished directories go to the trash, which is emptied in the background. */
  async list(): Promise<string[]> {
    const names = await readdir(this.#trees).catch((err: unknown) => {
      if (hasErrno(err, 'ENOENT')) return [];
      throw ioError(err, `listing ${this.#trees}`, this.#trees);
    });
    for (const name of names) if (name.startsWith(newPrefix)) await this.#trash.take(this.pathOf(name));
    this.#trash.empty();
    return names.filter((name) => idPattern.test(name));
  }

  async cleanup(): Promise<void> {
    await this.list();
    await this.#trash.settled();
  }

  /** syncfs(2) of the file system, by sync(1): the call can take seconds and must not be made on the event loop. */
  async sync(id: string): Promise<void> {
    try {
      await run('sync', ['-f', this.pathOf(id)], { timeout: syncTimeoutMs });
    } catch (err) {
      throw ioError(err, `syncing snapshot ${this.pathOf(id)}`, this.pathOf(id));
    }
  }
}

/** mkdir(2) with exactly this mode, whatever the umask is. */
export async function makeDirectory(directory: string, mode: number): Promise<void> {
  await mkdir(directory, { mode });
  await chmod(directory, mode);
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
