/**
 * Bundles: `STATE/shims/<namespace>/<id>/` with config.json, options.json, and what the shim adds. And where a shim's
 * socket is: `STATE/s/<hash>`, because a path in a deep state directory would not fit into a socket address.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, rmdir, stat, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { alreadyExists, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { formatIdentity, parseIdentity } from '../shims/process-identity.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';

/** A task's name in the places on disk. */
export interface TaskName {
  readonly namespace: string;
  readonly id: string;
}

export class Bundles {
  readonly dir: string;
  readonly socketDir: string;

  /** `state` is the supervisor's state directory. */
  constructor(state: string) {
    this.dir = path.join(state, 'shims');
    this.socketDir = path.join(state, 's');
  }

  pathOf({ namespace, id }: TaskName): string {
    return path.join(this.dir, namespace, id);
  }

  socketOf({ namespace, id }: TaskName): string {
    // Unguessable it need not be: the directory is traversable, the socket is 0600.
    const hash = createHash('sha256').update(`${namespace}/${id}`).digest('hex').slice(0, 32);
    return path.join(this.socketDir, hash);
  }

  /** Makes the bundle. Throws already exists when there is one. */
  async create(name: TaskName, config: Uint8Array, optionsJson: string): Promise<string> {
    const bundle = this.pathOf(name);
    await mkdir(path.dirname(bundle), { recursive: true, mode: 0o711 });
    await mkdir(this.socketDir, { recursive: true, mode: 0o711 });
    try {
      await mkdir(bundle, { mode: 0o700 });
    } catch (err) {
      if (isErrno(err, 'EEXIST')) throw alreadyExists(`bundle of task ${name.id}`);
      throw wrap(err, `making the bundle of ${name.id}`);
    }
    await Promise.all([
      writeFile(path.join(bundle, 'config.json'), config, { mode: 0o600 }),
      writeFile(path.join(bundle, 'options.json'), optionsJson, { mode: 0o600 }),
    ]);
    return bundle;
  }

  /** Notes which process the shim is, so that a bare pid never has to be trusted. */
  async writeShim(name: TaskName, shim: ProcessIdentity): Promise<void> {
    const file = path.join(this.pathOf(name), 'shim.pid');
    await writeFile(`${file}.new`, formatIdentity(shim), { mode: 0o600 });
    await rename(`${file}.new`, file);
  }

  async readShim(name: TaskName): Promise<ProcessIdentity | undefined> {
    return parseIdentity(await readOrEmpty(path.join(this.pathOf(name), 'shim.pid')));
  }

  /** Whether the runtime got as far as making a container. */
  async hasContainer(name: TaskName): Promise<boolean> {
    return (await readOrEmpty(path.join(this.pathOf(name), 'init.pid'))) !== '';
  }

  async exists(name: TaskName): Promise<boolean> {
    return stat(this.pathOf(name)).then(
      (found) => found.isDirectory(),
      () => false,
    );
  }

  /** Removes the bundle and the socket. Nothing is mounted in it. Idempotent. */
  async remove(name: TaskName): Promise<void> {
    await rm(this.pathOf(name), { recursive: true, force: true });
    await unlink(this.socketOf(name)).catch(ignoreMissing);
    await rmdir(path.dirname(this.pathOf(name))).catch(() => undefined); // another task's bundle is there
  }

  /** Every bundle there is. */
  async list(): Promise<TaskName[]> {
    const found: TaskName[] = [];
    for (const namespace of await readdirOrEmpty(this.dir)) {
      for (const id of await readdirOrEmpty(path.join(this.dir, namespace))) found.push({ namespace, id });
    }
    return found;
  }

  /** Removes the sockets that belong to none of these tasks. */
  async removeOtherSockets(tasks: Iterable<TaskName>): Promise<void> {
    const known = new Set([...tasks].map((name) => path.basename(this.socketOf(name))));
    for (const name of await readdirOrEmpty(this.socketDir)) {
      if (!known.has(name)) await unlink(path.join(this.socketDir, name)).catch(ignoreMissing);
    }
  }
}

async function readOrEmpty(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR')) return '';
    throw err;
  }
}

async function readdirOrEmpty(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR')) return [];
    throw err;
  }
}

function ignoreMissing(err: unknown): void {
  if (!isErrno(err, 'ENOENT')) throw err;
}
