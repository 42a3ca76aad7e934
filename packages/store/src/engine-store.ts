/**
 * A `Store` over an engine: runs transactions at once against layers in memory and hands the writes to the engine in
 * batches, one at a time, so that concurrent callers share one fsync.
 *
 *     transact ─► [own writes] ─return─► [gathering] ─engine idle─► [flushing] ─engine.write─► durable ─► resolve
 */
import { aborted, invalidArgument, unavailable } from '@gantry/errors';
import type { Batch, Engine } from './engine.ts';
import { encodeKey } from './key.ts';
import type { KeyPath } from './key.ts';
import { readLayers, scanLayers } from './layered-read.ts';
import type { Entry, Key, ScanOptions, Store, StoreSnapshot, Transaction } from './store.ts';

/** Writes on their way to the disk and who waits for them. */
class Commit {
  /** The generation that the store has when this is durable. */
  generation = 0;
  readonly writes = new Map<KeyPath, Uint8Array | undefined>();
  readonly settled: Promise<void>;
  resolve: () => void = () => undefined;
  reject: (err: unknown) => void = () => undefined;

  constructor() {
    this.settled = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Whoever waits gets the failure; a commit nobody waits for must not end the process.
    this.settled.catch(() => undefined);
  }
}

/** Implements `Store`; see there for the guarantees. */
export class EngineStore implements Store {
  readonly #engine: Engine;
  readonly #snapshots = new Set<StoreSnapshot>();
  readonly #listeners: (() => void)[] = [];
  #gathering: Commit | undefined;
  #flushing: Commit | undefined;
  #closing: Promise<void> | undefined;
  /** Of the latest transaction that wrote, and of what is durable. A failed commit leaves them apart until the next. */
  #generation = 0;
  #durableGeneration = 0;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get(key: Key): Uint8Array | undefined {
    this.#mustBeOpen();
    return readLayers([], this.#engine, key);
  }

  scan(prefix: Key, options?: ScanOptions): Iterable<Entry> {
    this.#mustBeOpen();
    return scanLayers([], this.#engine, prefix, options);
  }

  async transact<T>(fn: (tx: Transaction) => T): Promise<T> {
    this.#mustBeOpen();
    const waiting = [this.#gathering, this.#flushing].filter((commit) => commit !== undefined);
    const writes = new Map<KeyPath, Uint8Array | undefined>();
    const tx = new LayeredTransaction(
      [writes, ...waiting.map((commit) => commit.writes)],
      writes,
      this.#engine,
      this.#generation,
    );
    let result: T;
    try {
      result = fn(tx);
    } finally {
      tx.end();
    }
    if (result instanceof Promise) throw invalidArgument('asynchronous function given to transact');
    if (writes.size === 0) {
      await waiting[0]?.settled;
      return result;
    }
    const values = [...writes.values()].filter((value) => value !== undefined);
    if (values.length > 0) this.#engine.checkRoom(values.reduce((sum, value) => sum + value.length, 0));
    await this.#enqueue(writes).settled;
    return result;
  }

  snapshot(): StoreSnapshot {
    this.#mustBeOpen();
    const view = this.#engine.snapshot();
    let open = true;
    const check = (): void => {
      if (!open) throw unavailable('store snapshot is closed');
    };
    const snapshot: StoreSnapshot = {
      generation: this.#durableGeneration,
      get: (key) => {
        check();
        return readLayers([], view, key);
      },
      scan: (prefix, options) => {
        check();
        return scanLayers([], view, prefix, options);
      },
      close: () => {
        if (open) view.close();
        open = false;
        this.#snapshots.delete(snapshot);
      },
      [Symbol.dispose]: () => snapshot.close(),
    };
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  onWrite(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async flush(): Promise<void> {
    await (this.#gathering ?? this.#flushing)?.settled;
  }

  async backup(directory: string): Promise<void> {
    this.#mustBeOpen();
    await this.flush();
    await this.#engine.backup(directory);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.flush().catch(() => undefined);
    for (const snapshot of this.#snapshots) snapshot.close();
    await this.#engine.close();
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw unavailable('store is closed');
  }

  #enqueue(writes: Batch): Commit {
    const commit = (this.#gathering ??= new Commit());
    for (const [path, value] of writes) commit.writes.set(path, value);
    this.#generation += 1;
    commit.generation = this.#generation;
    // Not started at once: transactions of the same turn of the loop belong into the same commit.
    if (this.#flushing === undefined) queueMicrotask(() => this.#flushNext());
    for (const listener of this.#listeners) listener();
    return commit;
  }

  #flushNext(): void {
    const commit = this.#gathering;
    if (commit === undefined || this.#flushing !== undefined) return;
    this.#gathering = undefined;
    this.#flushing = commit;
    this.#engine.write(commit.writes).then(
      () => {
        this.#flushing = undefined;
        this.#durableGeneration = commit.generation;
        commit.resolve();
        this.#flushNext();
      },
      (err: unknown) => {
        this.#flushing = undefined;
        const later = this.#gathering;
        this.#gathering = undefined;
        commit.reject(err);
        // What ran meanwhile saw writes that never came to be.
        later?.reject(aborted('store transaction built on one that failed', {}, err));
      },
    );
  }
}

class LayeredTransaction implements Transaction {
  readonly generation: number;
  readonly #layers: readonly Batch[];
  readonly #writes: Map<KeyPath, Uint8Array | undefined>;
  readonly #engine: Engine;
  #ended = false;

  constructor(
    layers: readonly Batch[],
    writes: Map<KeyPath, Uint8Array | undefined>,
    engine: Engine,
    generation: number,
  ) {
    this.generation = generation;
    this.#layers = layers;
    this.#writes = writes;
    this.#engine = engine;
  }

  get(key: Key): Uint8Array | undefined {
    this.#mustBeOpen();
    return readLayers(this.#layers, this.#engine, key);
  }

  scan(prefix: Key, options?: ScanOptions): Iterable<Entry> {
    this.#mustBeOpen();
    return scanLayers(this.#layers, this.#engine, prefix, options);
  }

  put(key: Key, value: Uint8Array): void {
    this.#mustBeOpen();
    this.#writes.set(encodeKey(key), Uint8Array.from(value));
  }

  delete(key: Key): void {
    this.#mustBeOpen();
    this.#writes.set(encodeKey(key), undefined);
  }

  end(): void {
    this.#ended = true;
  }

  #mustBeOpen(): void {
    if (this.#ended) throw unavailable('store transaction has ended');
  }
}
