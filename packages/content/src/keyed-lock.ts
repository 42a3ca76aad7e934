/** Mutual exclusion per key inside this process: whoever asks second waits until the first is done. */

export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs `fn` when everyone who asked for `key` before has finished; settles as `fn` does. Not reentrant. */
  async run<T>(key: string, fn: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const result = before.then(fn);
    const tail = result.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(key, tail);
    try {
      return await result;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}
