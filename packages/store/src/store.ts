/**
 * The metadata store as the rest of the house sees it: ordered keys, byte values, atomic durable transactions.
 *
 * Vocabulary
 * - A **key** is a path of components, `['images', 'default', 'busybox']`. Components are non-empty text without NUL.
 *   Keys are ordered component by component, each by the bytes of its UTF-8 form.
 * - A **transaction** is a synchronous function. It sees everything that earlier transactions wrote, durable or not,
 *   and its own writes; either all of its writes happen or none.
 * - **Durable** means: on stable storage, also after a power cut. `transact` resolves then and not before, and readers
 *   outside of transactions (`get`, `scan`, `snapshot`) see only what is durable.
 *
 * Transactions never wait for one another: they run at once, in the order of the calls, and those that arrive while an
 * fsync is under way share the next one. When a commit fails (disk full, I/O error) every transaction of that commit,
 * and every later one that already ran on top of it, is rejected and leaves nothing.
 */

/** A path of components. */
export type Key = readonly string[];

export interface Entry {
  readonly key: Key;
  readonly value: Uint8Array;
}

export interface ScanOptions {
  /** Starts behind this child of the prefix (and behind everything below it): the last one of the page before. */
  readonly after?: string;
  /** At most so many entries. */
  readonly limit?: number;
}

/** Reading. Values returned are the caller's own copies. */
export interface Reader {
  /** The value, or undefined when there is no such key. */
  get(key: Key): Uint8Array | undefined;
  /**
   * The entries strictly below `prefix`, in key order. Read in pages: outside of a snapshot or a transaction, entries
   * that change while the iteration is under way may be seen before or after the change.
   */
  scan(prefix: Key, options?: ScanOptions): Iterable<Entry>;
}

/** What the function given to `transact` works with; unusable after it returned. */
export interface Transaction extends Reader, Dated {
  /** Sets a value; the bytes are copied. Throws invalid argument for a malformed or over-long key. */
  put(key: Key, value: Uint8Array): void;
  /** Removes a key; nothing happens when it is not there. */
  delete(key: Key): void;
}

/** How far a view has come: counted up by every transaction that wrote. Equal numbers, equal content. */
export interface Dated {
  readonly generation: number;
}

/** A consistent view of one moment. Holds disk pages of that moment until closed: close it soon. */
export interface StoreSnapshot extends Reader, Dated, Disposable {
  /** Ends the view. Idempotent. */
  close(): void;
}

export interface Store extends Reader {
  /**
   * Runs `fn` at once and resolves with its result when its writes are durable; a function without writes resolves when
   * what it read is durable. When `fn` throws nothing changes and the promise rejects with what it threw.
   * `fn` must be synchronous. Rejects with resource exhausted when the disk is nearly full (transactions that only
   * delete still pass), unavailable when the store is closed.
   */
  transact<T>(fn: (tx: Transaction) => T): Promise<T>;
  snapshot(): StoreSnapshot;
  /** Calls `listener` at each transaction that writes, before it is durable. It must not throw. */
  onWrite(listener: () => void): void;
  /** Resolves when everything written so far is durable. */
  flush(): Promise<void>;
  /** Writes a compacted copy into `directory`, made when missing; it is a store itself, complete on resolve. */
  backup(directory: string): Promise<void>;
  /** Finishes what was begun, then closes. Idempotent; everything afterwards is refused with unavailable. */
  close(): Promise<void>;
}
