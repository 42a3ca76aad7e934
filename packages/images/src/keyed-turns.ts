/** One at a time for each key: several pulls that want the same blob or the same chain of layers do the work once. */
import { Limiter } from './limiter.ts';

export class KeyedTurns {
  readonly #keys = new Map<string, { readonly limiter: Limiter; users: number }>();

  /** Runs `fn` alone among those with this key. Cancelled when the signal comes while it waits. Not reentrant. */
  async run<T>(key: string, fn: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const entry = this.#keys.get(key) ?? { limiter: new Limiter(1), users: 0 };
    this.#keys.set(key, entry);
    entry.users += 1;
    try {
      return await entry.limiter.run(fn, signal);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#keys.delete(key);
    }
  }
}
