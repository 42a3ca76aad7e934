/** A bounded number of things at a time; the others wait in their order. */
import { cancelled } from '@gantry/errors';

export class Limiter {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(limit: number) {
    this.#limit = Math.max(1, Math.floor(limit));
  }

  /** Runs `fn` when there is room; settles as it does. Cancelled when the signal comes first. */
  async run<T>(fn: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#enter(signal);
    try {
      return await fn();
    } finally {
      this.#leave();
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) throw cancelled('waiting for a turn');
    if (this.#running < this.#limit) {
      this.#running += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        const place = this.#waiting.indexOf(enter);
        if (place !== -1) this.#waiting.splice(place, 1);
        reject(cancelled('waiting for a turn'));
      };
      // Whoever leaves hands his place on, so the number of those running stays.
      const enter = (): void => {
        signal?.removeEventListener('abort', stop);
        resolve();
      };
      this.#waiting.push(enter);
      signal?.addEventListener('abort', stop, { once: true });
    });
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running -= 1;
    else next();
  }
}
