/**
 * Bundles: `STATE/shims/<namespace>/<id>/`, made with `shim.pid` in it; everything else in it the shim writes. And where a shim's
 * socket is: `STATE/s/<hash>`, because a path in a deep state directory would not fit into a socket address.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, rmdir, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { checkIdentifier } from '@gantry/api';
import { alreadyExists, ioError } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { ownDirectory } from '../own-directory.ts';
import { foreignBinary, removeRootfs } from '../shims/foreign/foreign-bundle.ts';
import { formatIdentity, parseIdentity } from '../shims/process-identity.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';

/** Names a container whose shim is dead and that is being ended: the pid of its init. */
const burialFile = 'burial.pid';

/** A task's name in the places on disk. */
export interface TaskName {
  readonly namespace: string;
  readonly id: string;
}

export class Bundles {
  readonly dir: string;
  readonly socketDir: string;
  /** Where shims listen that have no container yet. */
  readonly spareDir: string;

  /** `state` is the supervisor's state directory. */
  constructor(state: string) {
    this.dir = path.join(state, 'shims');
    this.socketDir = path.join(state, 's');
    this.spareDir = path.join(state, 'spares');
  }

  pathOf({ namespace, id }: TaskName): string {
    return path.join(this.dir, namespace, id);
  }

  /** The task whose bundle this path is; undefined when it is that of none. The path may be anybody's word. */
  nameOf(unsafePath: string): TaskName | undefined {
    const [namespace = '', id = '', ...rest] = unsafePath.slice(this.dir.length + 1).split('/');
    try {
      checkIdentifier('namespace', namespace);
      checkIdentifier('container', id);
    } catch {
      return undefined;
    }
    return rest.length === 0 && unsafePath === this.pathOf({ namespace, id }) ? { namespace, id } : undefined;
  }

  socketOf({ namespace, id }: TaskName): string {
    // Unguessable it need not be: the directory is traversable, the socket is 0600.
    const hash = createHash('sha256').update(`${namespace}/${id}`).digest('hex').slice(0, 32);
    return path.join(this.socketDir, hash);
  }

  /** Makes what bundles and sockets are made in. The spares of an earlier supervisor end by themselves. */
  async prepare(): Promise<void> {
    for (const dir of [this.dir, this.socketDir]) ownDirectory(dir, 0o711);
    await rm(this.spareDir, { recursive: true, force: true });
    await mkdir(this.spareDir, { mode: 0o700 });
  }

  /**
   * Makes the bundle, and notes in it which process its shim is, when there is one yet: a bare pid never has to be trusted.
   * Throws already exists when there is one. On the event loop: three calls on a file system in memory.
   */
  create(name: TaskName, shim: ProcessIdentity | undefined): void {
    const bundle = this.pathOf(name);
    try {
      makeDirectory(bundle);
      if (shim !== undefined) this.#noteShim(bundle, shim);
    } catch (err) {
      if (isErrno(err, 'EEXIST')) throw alreadyExists(`bundle of task ${name.id}`);
      throw ioError(err, `making the bundle of ${name.id}`);
    }
  }

  /** Notes which process the shim is of a bundle that was made without, and which its init, for shims that do not. */
  async noteForeign(name: TaskName, shim: ProcessIdentity | undefined, initPid: number): Promise<void> {
    const bundle = this.pathOf(name);
    if (shim !== undefined) this.#noteShim(bundle, shim);
    const options = { mode: 0o600, flag: 'wx' };
    await writeFile(path.join(bundle, 'init.pid'), `${initPid}`, options).catch((err: unknown) => {
      if (!isErrno(err, 'EEXIST')) throw err;
    });
  }

  #noteShim(bundle: string, shim: ProcessIdentity): void {
    writeFileSync(path.join(bundle, 'shim.pid'), formatIdentity(shim), { mode: 0o600, flag: 'wx' });
  }

  /** The program of the task's shim; undefined when the shim is ours, or there is no bundle. On the event loop. */
  foreignBinary(name: TaskName): string | undefined {
    return foreignBinary(this.pathOf(name));
  }

  /** Which process the shim is; undefined when there is no bundle. On the event loop, like `create`. */
  readShim(name: TaskName): ProcessIdentity | undefined {
    try {
      return parseIdentity(readFileSync(path.join(this.pathOf(name), 'shim.pid'), 'utf8'));
    } catch (err) {
      if (isErrno(err, 'ENOENT', 'ENOTDIR')) return undefined;
      throw err;
    }
  }

  /** Whether the runtime got as far as making a container, be it gone by now. */
  async hasContainer(name: TaskName): Promise<boolean> {
    const traces = ['init.pid', 'exit.json', burialFile].map((file) => path.join(this.pathOf(name), file));
    return (await Promise.all(traces.map(readOrEmpty))).some((text) => text !== '');
  }

  /**
   * Notes that the container is being ended without its shim, before the clean-up takes every other trace of it. Returns
   * the pid of its init, 0 when none is known; the same when it is called again.
   */
  async noteBurial(name: TaskName): Promise<number> {
    const file = path.join(this.pathOf(name), burialFile);
    const noted = await readOrEmpty(file);
    const pid = noted === '' ? await readOrEmpty(path.join(this.pathOf(name), 'init.pid')) : noted;
    if (noted === '' && this.exists(name)) await writeFile(file, `${Number(pid) || 0}\n`, { mode: 0o600 });
    return Number(pid) || 0;
  }

  /** Whether the runtime has left something that only its clean-up can end. */
  async hasLeftovers(name: TaskName): Promise<boolean> {
    const notes = ['state.json', 'external.json'].map((file) => path.join(this.pathOf(name), file));
    return (await Promise.all(notes.map(readOrEmpty))).some((text) => text !== '');
  }

  /** Whether the shim noted how its init ended. */
  async hasExit(name: TaskName): Promise<boolean> {
    return (await readOrEmpty(path.join(this.pathOf(name), 'exit.json'))) !== '';
  }

  /** The same on the event loop, by the file's being there: it comes by rename. */
  hasEnded(name: TaskName): boolean {
    return statSync(path.join(this.pathOf(name), 'exit.json'), { throwIfNoEntry: false }) !== undefined;
  }

  exists(name: TaskName): boolean {
    return statSync(this.pathOf(name), { throwIfNoEntry: false })?.isDirectory() === true;
  }

  /** Removes the bundle and the socket, and what a shim that is not ours has mounted in it. Idempotent. */
  async remove(name: TaskName): Promise<void> {
    await removeRootfs(this.pathOf(name));
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

  /** Every shim socket there is, by file name. */
  listSockets(): Promise<string[]> {
    return readdirOrEmpty(this.socketDir);
  }

  /** Removes those of the sockets that belong to no task; `tasks` is asked before each, for tasks come meanwhile. */
  async removeOtherSockets(sockets: readonly string[], tasks: () => readonly TaskName[]): Promise<void> {
    const known = (): ReadonlySet<string> => new Set(tasks().map((name) => path.basename(this.socketOf(name))));
    const before = known();
    for (const socket of sockets) {
      if (!before.has(socket) && !known().has(socket))
        await unlink(path.join(this.socketDir, socket)).catch(ignoreMissing);
    }
  }
}

/** The bundle's directory, and its namespace's when this is the first. */
function makeDirectory(bundle: string): void {
  try {
    mkdirSync(bundle, { mode: 0o700 });
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err;
    mkdirSync(path.dirname(bundle), { recursive: true, mode: 0o711 });
    mkdirSync(bundle, { mode: 0o700 });
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
