/**
 * Ingests as directories: `ingest/<sha256 of namespace/ref>/` with `data` (the bytes so far) and, for people and tools
 * that look, `ref`, `startedat`, `updatedat` (RFC 3339) and `total` as text. The record in the metadata store decides.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { hasErrno, ioError } from '@gantry/errors';
import type { IngestRecord } from './records.ts';

export class IngestFiles {
  readonly root: string;
  /** Names of directories that are to go; what cannot be removed now is tried again. */
  readonly #doomed = new Set<string>();
  readonly #removals = new Map<string, Promise<void>>();

  /** `root` is the `ingest` directory. */
  constructor(root: string) {
    this.root = root;
  }

  directoryOf(namespace: string, ref: string): string {
    return path.join(this.root, directoryName(namespace, ref));
  }

  dataOf(namespace: string, ref: string): string {
    return path.join(this.directoryOf(namespace, ref), 'data');
  }

  /** Makes the directory and its texts; what is there stays. */
  async make(namespace: string, ref: string, record: IngestRecord): Promise<void> {
    const dir = this.directoryOf(namespace, ref);
    try {
      // An earlier one of this name that is gone but for its files.
      const name = directoryName(namespace, ref);
      if (this.#doomed.has(name)) await this.#removeDoomed(name);
      await mkdir(dir, { recursive: true, mode: 0o755 });
      await Promise.all([
        writeFile(path.join(dir, 'ref'), `${namespace}/${ref}`),
        writeFile(path.join(dir, 'startedat'), rfc3339(record.startedAtNs)),
        this.note(namespace, ref, record),
      ]);
    } catch (err) {
      throw ioError(err, `making ingest ${JSON.stringify(ref)}`, dir);
    }
  }

  /** Writes the texts that change. */
  async note(namespace: string, ref: string, record: Pick<IngestRecord, 'updatedAtNs' | 'total'>): Promise<void> {
    const dir = this.directoryOf(namespace, ref);
    await Promise.all([
      writeFile(path.join(dir, 'updatedat'), rfc3339(record.updatedAtNs)),
      writeFile(path.join(dir, 'total'), String(record.total)),
    ]);
  }

  /** Bytes on disk; 0 when there are none. */
  async sizeOf(namespace: string, ref: string): Promise<bigint> {
    try {
      return (await stat(this.dataOf(namespace, ref), { bigint: true })).size;
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return 0n;
      throw ioError(err, `looking at ingest ${JSON.stringify(ref)}`, this.dataOf(namespace, ref));
    }
  }

  /** Says that an ingest's directory is to go, before anything can come between. */
  doom(namespace: string, ref: string): void {
    this.#doomed.add(directoryName(namespace, ref));
  }

  /** Removes an ingest's directory; nothing happens when it is not there. When that fails it stays doomed. */
  async remove(namespace: string, ref: string): Promise<void> {
    this.doom(namespace, ref);
    await this.#removeDoomed(directoryName(namespace, ref));
  }

  /** Removes what is doomed; gives what went wrong. */
  async removeDoomed(): Promise<unknown[]> {
    const errors: unknown[] = [];
    for (const name of this.#doomed) await this.#removeDoomed(name).catch((err: unknown) => errors.push(err));
    return errors;
  }

  /** Once at a time for each: who makes a directory of that name anew waits for its end. */
  #removeDoomed(name: string): Promise<void> {
    const running =
      this.#removals.get(name) ??
      this.removeByName(name)
        .then(() => void this.#doomed.delete(name))
        .finally(() => this.#removals.delete(name));
    this.#removals.set(name, running);
    return running;
  }

  /** The names of all directories, known or not. */
  async names(): Promise<string[]> {
    try {
      return await readdir(this.root);
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return [];
      throw err;
    }
  }

  async removeByName(name: string): Promise<void> {
    await rm(path.join(this.root, name), { recursive: true, force: true });
  }
}

/** The directory of an ingest. A namespace holds no slash, so no two pairs share one. */
export function directoryName(namespace: string, ref: string): string {
  return createHash('sha256').update(`${namespace}/${ref}`).digest('hex');
}

function rfc3339(ns: bigint): string {
  return new Date(Number(ns / 1_000_000n)).toISOString();
}
