/**
 * The store on disk: LMDB with plain bytes for keys and values, so that the file can be read by any LMDB tool
 * (`mdb_stat`, `mdb_dump -p`). The only importer of the binding.
 *
 * How the binding is used, and why:
 * - `overlappingSync` is off: a commit becomes visible only after its fsync, so nobody ever reads what a power cut could
 *   take back, and a batch's promise is its durability;
 * - writes go through `batch` only: one LMDB transaction on the binding's own thread, no callbacks in the middle;
 * - `eventTurnBatching` is off: batches are ours, and the binding's own ones reject promises that nobody holds, which
 *   would end the process on a full disk;
 * - ranges are read in short pages, so that no cursor lives across a turn of the event loop;
 * - LMDB notices a dead process's reader slots and takes over its lock (robust mutex): a killed owner blocks nobody.
 */
import { mkdirSync, statfsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { open as openDatabase } from 'lmdb';
import type { RootDatabase, Transaction as ReadTransaction } from 'lmdb';
import { failedPrecondition, messageOf, resourceExhausted, wrap } from '@gantry/errors';
import type { Batch, Engine, EngineEntry, EngineSnapshot } from './engine.ts';
import { EngineStore } from './engine-store.ts';
import type { KeyPath, PathRange } from './key.ts';
import { claimSchema } from './schema.ts';
import type { Store } from './store.ts';

type Database = RootDatabase<Buffer, Buffer>;

export interface StoreOptions {
  /** Free bytes below which transactions that write are refused; 64 MiB when absent. */
  readonly minimumFreeBytes?: number;
}

const defaultMinimumFreeBytes = 64 * 1024 * 1024;
/** Address space reserved for the map; it grows past that by itself. Not memory, not disk. */
const mapBytes = 1024 * 1024 * 1024;
/** With less than this, a failed commit is blamed on the full disk. */
const fullBytes = 1024 * 1024;
/** How old the figure of free space may be. */
const freeSpaceAgeMs = 200;

/**
 * Opens (or makes, mode 0700) the store in directory `dir`. One process at a time may have it open; keeping a second one
 * out is the caller's business. Throws failed precondition when a newer version wrote it.
 */
export async function openStore(dir: string, options: StoreOptions = {}): Promise<Store> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  let database: Database;
  try {
    database = openDatabase<Buffer, Buffer>({
      path: dir,
      noSubdir: false,
      keyEncoding: 'binary',
      encoding: 'binary',
      overlappingSync: false,
      eventTurnBatching: false,
      mapSize: mapBytes,
      maxDbs: 1,
      cache: false,
    });
  } catch (err) {
    throw wrap(err, `opening the metadata store ${dir}`);
  }
  const store = new EngineStore(new LmdbEngine(database, dir, options.minimumFreeBytes ?? defaultMinimumFreeBytes));
  try {
    await claimSchema(store);
  } catch (err) {
    await store.close();
    throw err;
  }
  return store;
}

class LmdbEngine implements Engine {
  readonly #database: Database;
  readonly #dir: string;
  readonly #minimumFreeBytes: number;
  #freeBytes = 0;
  #measuredAtMs = Number.NEGATIVE_INFINITY;
  /** Since then. */
  #writtenBytes = 0;

  constructor(database: Database, dir: string, minimumFreeBytes: number) {
    this.#database = database;
    this.#dir = dir;
    this.#minimumFreeBytes = minimumFreeBytes;
  }

  get(path: KeyPath): Uint8Array | undefined {
    return getFrom(this.#database, path, undefined);
  }

  page(range: PathRange, limit: number, exclusive: boolean): EngineEntry[] {
    return pageFrom(this.#database, range, limit, exclusive, undefined);
  }

  async write(batch: Batch): Promise<void> {
    try {
      await this.#database.batch(() => {
        for (const [path, value] of batch) {
          const key = Buffer.from(path, 'latin1');
          const bytes = value && Buffer.from(value.buffer, value.byteOffset, value.byteLength);
          const written = bytes === undefined ? this.#database.remove(key) : this.#database.put(key, bytes);
          // The batch as a whole reports; a rejection that nobody looks at would end the process.
          written.catch(() => undefined);
        }
      });
    } catch (err) {
      throw this.#commitFailure(await realReason(err));
    }
  }

  snapshot(): EngineSnapshot {
    const transaction = this.#database.useReadTransaction();
    return {
      get: (path) => getFrom(this.#database, path, transaction),
      page: (range, limit, exclusive) => pageFrom(this.#database, range, limit, exclusive, transaction),
      close: () => transaction.done(),
    };
  }

  checkRoom(bytes: number): void {
    const old = performance.now() - this.#measuredAtMs > freeSpaceAgeMs;
    this.#writtenBytes += bytes;
    if (old || this.#writtenBytes > this.#minimumFreeBytes / 8) this.#measure();
    if (this.#freeBytes < this.#minimumFreeBytes) {
      throw resourceExhausted(
        `disk of ${this.#dir}: ${this.#freeBytes} bytes free, ${this.#minimumFreeBytes} required`,
        {
          path: this.#dir,
        },
      );
    }
  }

  async backup(directory: string): Promise<void> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await this.#database.backup(directory, true);
    } catch (err) {
      throw wrap(err, `backing up the metadata store to ${directory}`);
    }
  }

  async close(): Promise<void> {
    await this.#database.close();
  }

  #measure(): void {
    // Superblock counters in memory, no I/O: fine on the loop.
    const { bavail, bsize } = statfsSync(this.#dir);
    this.#freeBytes = bavail * bsize;
    this.#measuredAtMs = performance.now();
    this.#writtenBytes = 0;
  }

  /** LMDB reports a write cut short by a full disk as an I/O error. */
  #commitFailure(reason: unknown): Error {
    const doing = `committing to the metadata store ${this.#dir}`;
    const text = messageOf(reason);
    this.#measure();
    const full = this.#freeBytes < Math.max(this.#minimumFreeBytes, fullBytes);
    if (full || /No space left|MDB_MAP_FULL|ENOSPC/.test(text)) {
      return resourceExhausted(`${doing}: ${text}`, { path: this.#dir }, reason);
    }
    if (/Read-only file system|EROFS/.test(text)) {
      return failedPrecondition(`${doing}: ${text}`, { path: this.#dir }, reason);
    }
    return wrap(reason, doing, 'internal');
  }
}

function getFrom(database: Database, path: KeyPath, transaction: ReadTransaction | undefined): Uint8Array | undefined {
  const value = database.get(Buffer.from(path, 'latin1'), transaction === undefined ? undefined : { transaction });
  return value === undefined ? undefined : Uint8Array.from(value);
}

function pageFrom(
  database: Database,
  range: PathRange,
  limit: number,
  exclusive: boolean,
  transaction: ReadTransaction | undefined,
): EngineEntry[] {
  const page: EngineEntry[] = [];
  const entries = database.getRange({
    start: Buffer.from(range.start, 'latin1'),
    end: Buffer.from(range.end, 'latin1'),
    exclusiveStart: exclusive,
    limit,
    ...(transaction === undefined ? {} : { transaction }),
  });
  for (const { key, value } of entries) {
    page.push({ path: key.toString('latin1'), value: Uint8Array.from(value) });
  }
  return page;
}

/** The binding rejects with a general error that carries a promise of the real one. */
async function realReason(err: unknown): Promise<unknown> {
  if (!(err instanceof Error) || !('commitError' in err)) return err;
  try {
    await err.commitError;
    return err;
  } catch (reason) {
    return reason;
  }
}
