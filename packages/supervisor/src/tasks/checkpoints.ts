/**
 * Checkpoints on their way: directories with criu's images, which a shim writes to or restores from, and the archives of
 * them in the content store.
 *
 *   Tasks.Checkpoint   shim ─► ROOT/checkpoints/<task>.<random>/ ─► tar in the content store      directory removed
 *   Tasks.Create       tar in the content store ─► ROOT/checkpoints/<task>.<random>/ ─► shim      removed after Start
 *
 * An archive may come from anywhere: it is taken for nothing but a flat list of plain files, and whatever else is in it
 * is refused. Promise: nothing outside of the directory is written, and a directory goes at the latest with its task.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { readTar, tarEnd, tarHeader, tarPadding } from '@gantry/archive';
import type { TarEntry } from '@gantry/archive';
import type { ContentStore, Writer } from '@gantry/content';
import { dataLoss, invalidArgument, ioError, isCode, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { ownDirectory } from '../own-directory.ts';
import type { TaskName } from './bundle.ts';

/** `application/…criu.tar` and the container's specification beside it, as containerd names them. */
export const checkpointMediaType = 'application/vnd.containerd.container.criu.checkpoint.criu.tar';
export const checkpointConfigMediaType = 'application/vnd.containerd.container.checkpoint.config.v1+proto';

/** A checkpoint has a few files a process; this is for archives that were made to be trouble. */
const mostFiles = 100_000;
const pieceBytes = 1024 * 1024;

export interface StoredContent {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: bigint;
}

export class Checkpoints {
  readonly #dir: string;
  readonly #content: ContentStore;
  /** The tasks that have a directory, so that the others cost nothing; not all of them before `prepare` has looked. */
  readonly #keys = new Set<string>();
  #hasLooked = false;

  constructor({ root, content }: { readonly root: string; readonly content: ContentStore }) {
    this.#dir = path.join(root, 'checkpoints');
    this.#content = content;
  }

  /** Makes the place, and takes away what belongs to none of the tasks. */
  async prepare(tasks: () => readonly TaskName[]): Promise<void> {
    ownDirectory(this.#dir, 0o700);
    const entries = await readdir(this.#dir);
    // Asked afterwards: the API is served meanwhile, and a task is there before its directory.
    const known = new Set(tasks().map((name) => keyOf(name)));
    for (const entry of entries) {
      const key = entry.split('.')[0] ?? '';
      if (known.has(key)) this.#keys.add(key);
      else await this.#removeEntry(entry);
    }
    this.#hasLooked = true;
  }

  /** An empty directory of the task's, 0700. */
  async makeDirectory(name: TaskName): Promise<string> {
    ownDirectory(this.#dir, 0o700);
    const key = keyOf(name);
    this.#keys.add(key);
    return await mkdtemp(path.join(this.#dir, `${key}.`));
  }

  /** Removes every directory of the task. */
  async removeOf(name: TaskName): Promise<void> {
    const key = keyOf(name);
    if (this.#hasLooked && !this.#keys.has(key)) return;
    for (const entry of await readdirOrEmpty(this.#dir)) {
      if (entry.startsWith(`${key}.`)) await this.#removeEntry(entry);
    }
    this.#keys.delete(key);
  }

  /** Removes one of them. */
  async removeDirectory(directory: string): Promise<void> {
    await this.#removeEntry(path.basename(directory));
  }

  async #removeEntry(entry: string): Promise<void> {
    await rm(path.join(this.#dir, entry), { recursive: true, force: true });
  }

  /**
   * Unpacks an archive of the namespace into a directory of the task's. Not found when there is no such content, invalid
   * argument for an archive that is not that of a checkpoint; nothing is left then.
   */
  async unpack(name: TaskName, digest: string): Promise<string> {
    this.#content.info(name.namespace, digest);
    const directory = await this.makeDirectory(name);
    try {
      let files = 0;
      for await (const entry of readTar(this.#content.read(name.namespace, digest))) {
        if (++files > mostFiles) throw invalidArgument(`more than ${mostFiles} files`);
        await unpackEntry(directory, entry);
      }
      return directory;
    } catch (err) {
      await rm(directory, { recursive: true, force: true });
      throw wrap(err, `unpacking the checkpoint ${digest}`);
    }
  }

  /** Stores the directory's files as an archive that the lease holds. */
  async store(namespace: string, directory: string, lease: string | undefined): Promise<StoredContent> {
    return await this.#write(namespace, checkpointMediaType, directory, lease, async (writer) => {
      for (const file of (await readdir(directory)).toSorted()) await packFile(writer, path.join(directory, file));
      await writer.write(tarEnd);
    });
  }

  /** Stores the container's specification: the bytes of its `Any`. `directory` names the ingest. */
  async storeConfig(
    namespace: string,
    config: Uint8Array,
    directory: string,
    lease: string | undefined,
  ): Promise<StoredContent> {
    const ref = path.join(directory, 'spec');
    return await this.#write(namespace, checkpointConfigMediaType, ref, lease, (writer) => writer.write(config));
  }

  async #write(
    namespace: string,
    mediaType: string,
    ref: string,
    lease: string | undefined,
    fill: (writer: Writer) => Promise<void>,
  ): Promise<StoredContent> {
    const writer = await this.#content.openWriter(namespace, { ref, lease });
    try {
      await writer.truncate(0n);
      await fill(writer);
      const [digest, size] = [writer.digest(), writer.status().offset];
      try {
        await writer.commit({ size, expected: digest });
      } catch (err) {
        if (!isCode(err, 'already exists')) throw err;
      }
      return { mediaType, digest, size };
    } catch (err) {
      await writer.close();
      await this.#content.abort(namespace, ref, lease).catch(() => undefined);
      throw err;
    } finally {
      await writer.close();
    }
  }
}

/** A file name that is short and the same for the same task. */
function keyOf({ namespace, id }: TaskName): string {
  return createHash('sha256').update(`${namespace}/${id}`).digest('hex').slice(0, 32);
}

async function unpackEntry(directory: string, { header, body }: TarEntry): Promise<void> {
  const unsafeName = header.name.toString().replace(/^(?:\.\/)+/, '');
  if (header.type === 'directory' && /^\.?\/?$/.test(unsafeName)) return;
  if (header.type !== 'file') throw invalidArgument(`${JSON.stringify(unsafeName)} is a ${header.type}`);
  const isPlain = unsafeName !== '' && unsafeName !== '.' && unsafeName !== '..' && !/[/\0]/.test(unsafeName);
  if (!isPlain) throw invalidArgument(`${JSON.stringify(unsafeName)} is no name of a file in a checkpoint`);
  const file = await open(path.join(directory, unsafeName), 'wx', 0o600).catch((err: unknown) => {
    if (isErrno(err, 'EEXIST')) throw invalidArgument(`${JSON.stringify(unsafeName)} is there twice`);
    throw err;
  });
  try {
    for await (const bytes of body) await file.writeFile(bytes);
  } catch (err) {
    throw ioError(err, `writing ${JSON.stringify(unsafeName)}`);
  } finally {
    await file.close();
  }
}

async function packFile(writer: Writer, file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    const stat = await handle.stat({ bigint: true });
    // What criu makes are files; a link to the images of a parent means nothing elsewhere.
    if (!stat.isFile()) throw dataLoss(`${path.basename(file)} is no plain file`);
    const { size, mtimeNs } = stat;
    await writer.write(tarHeader({ type: 'file', name: path.basename(file), mode: 0o600, size, mtimeNs }));
    let written = 0n;
    const end = size === 0n ? 0 : Number(size) - 1;
    if (size > 0n) {
      for await (const bytes of createReadStream(file, { end, highWaterMark: pieceBytes })) {
        await writer.write(bytes as Buffer);
        written += BigInt((bytes as Buffer).length);
      }
    }
    if (written !== size) throw dataLoss(`${path.basename(file)} has changed while it was read`);
    await writer.write(tarPadding(size));
  } finally {
    await handle.close();
  }
}

async function readdirOrEmpty(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return [];
    throw err;
  }
}
