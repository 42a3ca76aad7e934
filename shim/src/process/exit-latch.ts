/** Many wait, one thing happens: the exit of a process, as `Wait` callers see it. */
import { cancelled } from '@gantry/errors';
import type { Exit } from './reaper.ts';

interface Waiter {
  readonly resolve: (exit: Exit) => void;
  readonly reject: (err: Error) => void;
}

export class ExitLatch {
  #exit: Exit | undefined;
  #failure: Error | undefined;
  readonly #waiters = new Set<Waiter>();

  /** undefined until the exit is settled. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** How many wait now. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** Tells everybody, now and later. Only the first call counts. */
  settle(exit: Exit): void {
    if (this.#exit !== undefined || this.#failure !== undefined) return;
    this.#exit = exit;
    for (const waiter of this.#waiters) waiter.resolve(exit);
    this.#waiters.clear();
  }

  /** There will never be an exit: the process was deleted before it ran. */
  fail(err: Error): void {
    if (this.#exit !== undefined || this.#failure !== undefined) return;
    this.#failure = err;
    for (const waiter of this.#waiters) waiter.reject(err);
    this.#waiters.clear();
  }

  /** Resolves with the exit; rejects with cancelled when `signal` aborts (a caller that went away holds nothing). */
  async wait(signal?: AbortSignal): Promise<Exit> {
    if (this.#exit !== undefined) return this.#exit;
    if (this.#failure !== undefined) throw this.#failure;
    return await new Promise<Exit>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        reject(cancelled('wait'));
      };
      const waiter: Waiter = {
        resolve: (exit) => {
          signal?.removeEventListener('abort', onAbort);
          resolve(exit);
        },
        reject: (err) => {
          signal?.removeEventListener('abort', onAbort);
          reject(err);
        },
      };
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** The exit, or undefined when it does not come in time. */
  async waitAtMost(timeoutMs: number): Promise<Exit | undefined> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), timeoutMs);
    try {
      return await this.wait(timeout.signal);
    } catch (err) {
      if (timeout.signal.aborted) return undefined;
      throw err;
    } finally {
      clearTimeout(timer);
    }
  }
}
