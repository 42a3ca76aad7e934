/** A store that lives as long as the process: for unit tests of the rooms above. Passes the same suite as the real one. */
import { notImplemented } from '@gantry/errors';
import type { Batch, Engine, EngineEntry, EngineReader, EngineSnapshot } from './engine.ts';
import { EngineStore } from './engine-store.ts';
import type { KeyPath, PathRange } from './key.ts';
import type { Store } from './store.ts';

/** An empty store in memory. `backup` is not implemented. */
export function memoryStore(): Store {
  return new EngineStore(new MemoryEngine());
}

/** An immutable state: a write makes a new one, so that a snapshot is just a reference. */
class MemoryState implements EngineReader {
  readonly entries: ReadonlyMap<KeyPath, Uint8Array>;
  #sorted: readonly KeyPath[] | undefined;

  constructor(entries: ReadonlyMap<KeyPath, Uint8Array>) {
    this.entries = entries;
  }

  get(path: KeyPath): Uint8Array | undefined {
    return this.entries.get(path)?.slice();
  }

  page(range: PathRange, limit: number, exclusive: boolean): EngineEntry[] {
    this.#sorted ??= [...this.entries.keys()].sort();
    const page: EngineEntry[] = [];
    for (const path of this.#sorted) {
      if (path >= range.end || page.length === limit) break;
      const value = this.entries.get(path);
      if (value === undefined || path < range.start || (exclusive && path === range.start)) continue;
      page.push({ path, value: value.slice() });
    }
    return page;
  }
}

class MemoryEngine implements Engine {
  #state = new MemoryState(new Map());

  get(path: KeyPath): Uint8Array | undefined {
    return this.#state.get(path);
  }

  page(range: PathRange, limit: number, exclusive: boolean): EngineEntry[] {
    return this.#state.page(range, limit, exclusive);
  }

  async write(batch: Batch): Promise<void> {
    const entries = new Map(this.#state.entries);
    for (const [path, value] of batch) {
      if (value === undefined) entries.delete(path);
      else entries.set(path, value);
    }
    this.#state = new MemoryState(entries);
    return Promise.resolve();
  }

  snapshot(): EngineSnapshot {
    const state = this.#state;
    return {
      get: (path) => state.get(path),
      page: (range, limit, exclusive) => state.page(range, limit, exclusive),
      close: () => undefined,
    };
  }

  checkRoom(): void {
    // Nothing to run out of.
  }

  async backup(): Promise<void> {
    return Promise.reject(notImplemented('backup of a store in memory'));
  }

  async close(): Promise<void> {
    return Promise.resolve();
  }
}
