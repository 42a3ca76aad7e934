/**
 * Blobs as files: `blobs/<algorithm>/<encoded>`, mode 0444, complete whenever they are visible. One copy serves all
 * namespaces. Who changes a blob's existence holds its lock (`exclusive`).
 */
import { chmod, copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { hasErrno, ioError } from '@gantry/errors';
import { digestAlgorithm, digestEncoded, isDigest } from '@gantry/oci';
import type { Digest } from '@gantry/oci';
import { KeyedLock } from './keyed-lock.ts';

/** A blob as a file, for as long as it is not disposed. */
export interface LocalBlob extends AsyncDisposable {
  readonly path: string;
}

/** The bytes of a blob that is not a file here, from `start` up to `end`. */
export type FarReader = (start: bigint, end: bigint) => AsyncIterable<Uint8Array>;

export class BlobFiles {
  readonly root: string;
  /** Whether every blob is a file here. */
  readonly isHere: boolean = true;
  readonly #lock = new KeyedLock();

  /** `root` is the `blobs` directory. */
  constructor(root: string) {
    this.root = root;
  }

  /** Makes the directory. */
  async prepare(): Promise<void> {
    await mkdir(this.root, { recursive: true, mode: 0o755 });
  }

  /** Where the blob is or would be. The digest was parsed, so its parts are safe path components. */
  pathOf(digest: Digest): string {
    return path.join(this.root, digestAlgorithm(digest), digestEncoded(digest));
  }

  /** Serializes publishing, adopting and removing of one blob. */
  async exclusive<T>(digest: Digest, fn: () => Promise<T>): Promise<T> {
    return this.#lock.run(digest, fn);
  }

  /** The size in bytes, undefined when there is no such blob. `namespace` is whose blob it is, or is to be. */
  async sizeOf(digest: Digest, namespace: string): Promise<bigint | undefined> {
    void namespace; // one copy for all
    try {
      return (await stat(this.pathOf(digest), { bigint: true })).size;
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return undefined;
      throw ioError(err, `looking for blob ${digest}`, this.pathOf(digest));
    }
  }

  /**
   * Turns a complete, closed and synced file of this file system into the blob: durable when it resolves. The file is
   * gone from its old place; when the blob exists already it is left where it is. Call under `exclusive`.
   */
  async publish(file: string, digest: Digest, namespace: string): Promise<void> {
    const target = this.pathOf(digest);
    try {
      if ((await this.sizeOf(digest, namespace)) !== undefined) return;
      await chmod(file, 0o444);
      await makeDurableDirectory(path.dirname(target));
      await rename(file, target);
      await syncDirectory(path.dirname(target));
    } catch (err) {
      throw ioError(err, `publishing blob ${digest}`, target);
    }
  }

  /** Removes a blob; nothing happens when it is not there. Call under `exclusive`. */
  async remove(digest: Digest): Promise<void> {
    await rm(this.pathOf(digest), { force: true });
  }

  /** How to read a blob that is not a file here; undefined when it is. */
  async elsewhere(digest: Digest, namespace: string): Promise<FarReader | undefined> {
    void digest;
    void namespace;
    return undefined;
  }

  /** The blob as a file. */
  async local(digest: Digest, namespace: string): Promise<LocalBlob> {
    void namespace;
    return { path: this.pathOf(digest), [Symbol.asyncDispose]: async () => undefined };
  }

  /** A copy of the blob. */
  async copyTo(digest: Digest, namespace: string, file: string): Promise<void> {
    await copyFile((await this.local(digest, namespace)).path, file);
  }

  /** Every blob on disk. Files that do not look like one are passed over. */
  async *list(): AsyncGenerator<Digest> {
    for (const algorithm of await names(this.root)) {
      for (const encoded of await names(path.join(this.root, algorithm))) {
        const digest = `${algorithm}:${encoded}`;
        if (isDigest(digest)) yield digest;
      }
    }
  }
}

/** Makes a file's or directory's name survive a power cut: fsync(2) of the directory that holds it. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function makeDurableDirectory(dir: string): Promise<void> {
  const made = await mkdir(dir, { recursive: true, mode: 0o755 });
  if (made !== undefined) await syncDirectory(path.dirname(made));
}

async function names(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (hasErrno(err, 'ENOENT', 'ENOTDIR')) return [];
    throw err;
  }
}
