/** The numbers that trees are made under: counted up, and never given twice, crashes or not. */
import { keys } from '@gantry/store';
import type { Reader, Store, Transaction } from '@gantry/store';

export class TreeIds {
  readonly #store: Store;
  /** Highest given out per snapshotter; ahead of the store's while a tree is being made. */
  readonly #last = new Map<string, number>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Durable by `note`, together with the record of the tree that gets it: a tree of this number without a record is nobody's. */
  next(snapshotter: string): number {
    const number = Math.max(this.#last.get(snapshotter) ?? 0, storedLastId(this.#store, snapshotter)) + 1;
    this.#last.set(snapshotter, number);
    return number;
  }

  /** Durable before it is used: what a crash leaves in another process is known by its number, and no other tree gets it. */
  async nextDurable(snapshotter: string): Promise<number> {
    const number = this.next(snapshotter);
    await this.#store.transact((tx) => this.note(tx, snapshotter, number));
    return number;
  }

  note(tx: Transaction, snapshotter: string, number: number): void {
    if (number > storedLastId(tx, snapshotter)) tx.put(keys.snapshotIds(snapshotter), Buffer.from(String(number)));
  }
}

/** 0 when none was ever given. */
export function storedLastId(reader: Reader, snapshotter: string): number {
  const bytes = reader.get(keys.snapshotIds(snapshotter));
  return bytes === undefined ? 0 : Number(Buffer.from(bytes).toString('latin1'));
}
