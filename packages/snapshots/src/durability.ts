/**
 * When a committed snapshot is on the disk.
 *
 * A commit does not wait for the disk: its record, which is durable, carries the id of the running boot until a sync of the
 * file system has come after it. The syncs of commits that follow each other are one.
 *
 *     commit ─► record {unsynced: boot} ─► (others join) ─► syncfs ─► record {}
 *
 * After a crash of this process the pages are still the kernel's: the sync is made up for. After a power cut (the boot is
 * another one) such a tree is counted again: with the same inodes and the same bytes it is whole, because file systems give
 * a file its length only when its bytes are there; otherwise nobody may build on it, and it goes when nobody does.
 */
import { readFileSync } from 'node:fs';
import { messageOf } from '@gantry/errors';
import type { Key, Store } from '@gantry/store';
import { decodeSnapshot, encodeSnapshot } from './records.ts';
import type { Snapshotter } from './snapshotter.ts';

/** So long a sync waits for further commits; those of one image's layers are seldom further apart. */
const gatherMs = 500;

/** But no longer than this after the first. */
const longestWaitMs = 5_000;

/** A sync that failed is tried again after this. */
const retryMs = 10_000;

/** The id of the running boot of this machine. */
export function currentBoot(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

export interface SyncQueueOptions {
  readonly store: Store;
  /** Told of a sync that failed; it is tried again. */
  readonly onError: (text: string) => void;
}

/** The commits of one snapshotter that wait for their sync. */
export class SyncQueue {
  readonly #snapshotter: Snapshotter;
  readonly #options: SyncQueueOptions;
  readonly #waiting = new Map<string, Key>();
  #firstMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(snapshotter: Snapshotter, options: SyncQueueOptions) {
    this.#snapshotter = snapshotter;
    this.#options = options;
  }

  /** Sees to it that the snapshot of this record is synced soon. `key` is the record's in the store. */
  add(key: Key): void {
    if (this.#waiting.size === 0) this.#firstMs = performance.now();
    this.#waiting.set(key.join('\0'), key);
    this.#wakeIn(Math.min(gatherMs, Math.max(0, this.#firstMs + longestWaitMs - performance.now())));
  }

  /** Syncs what waits now; resolves when that is done, rejects when it fails. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running?.catch(() => undefined);
    if (this.#waiting.size === 0) return;
    const keys = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#running = this.#sync(keys).finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  async #sync(keys: readonly Key[]): Promise<void> {
    const { store, onError } = this.#options;
    try {
      await this.#snapshotter.sync();
      await store.transact((tx) => {
        for (const key of keys) {
          const bytes = tx.get(key);
          // Removed meanwhile, or even made again.
          const record = bytes && decodeSnapshot(key.at(-1) ?? '', bytes);
          if (record?.unsynced !== undefined) tx.put(key, encodeSnapshot({ ...record, unsynced: undefined }));
        }
      });
    } catch (err) {
      for (const key of keys) this.#waiting.set(key.join('\0'), key);
      onError(`syncing snapshots of ${this.#snapshotter.name}: ${messageOf(err)}`);
      this.#wakeIn(retryMs);
      throw err;
    }
  }

  #wakeIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.flush().catch(() => undefined); // told by onError
    }, ms);
    this.#timer.unref();
  }
}
