/** Trees that no record speaks of any more and that are still on the disk. What cannot be removed now is tried again. */
import { discardTree } from './remote.ts';
import type { Snapshotter } from './snapshotter.ts';

export class DoomedTrees {
  readonly #onError: (text: string) => void;
  readonly #ids = new Map<Snapshotter, Set<string>>();

  constructor(onError: (text: string) => void) {
    this.#onError = onError;
  }

  /** Says that a tree is to go, before anything can come between. */
  add(backend: Snapshotter, id: string): void {
    const ids = this.#ids.get(backend) ?? new Set();
    this.#ids.set(backend, ids.add(id));
  }

  /** Removes a tree; when that fails it stays doomed. Another process may be away: what it keeps goes at a later start. */
  async remove(backend: Snapshotter, id: string): Promise<void> {
    this.add(backend, id);
    await discardTree(backend, id, this.#onError);
    this.#ids.get(backend)?.delete(id);
  }

  /** Removes all there are; gives what went wrong. */
  async removeAll(): Promise<unknown[]> {
    const errors: unknown[] = [];
    for (const [backend, ids] of this.#ids) {
      for (const id of ids) await this.remove(backend, id).catch((err: unknown) => errors.push(err));
    }
    return errors;
  }
}
