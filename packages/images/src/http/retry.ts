/** When a request is sent again, how often, and how long to wait before. */
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { cancelled, codeOf, GantryError } from '@gantry/errors';

/** Milliseconds, and how many times in all. */
export interface RetryPolicy {
  readonly attempts: number;
  readonly firstDelayMs: number;
  readonly maximumDelayMs: number;
  /** A server that asks for a longer pause gets none: the error says when to come back. */
  readonly maximumRetryAfterMs: number;
}

export const defaultRetryPolicy: RetryPolicy = {
  attempts: 5,
  firstDelayMs: 250,
  maximumDelayMs: 10_000,
  maximumRetryAfterMs: 60_000,
};

/** Answers that another attempt may change (RFC 9110, RFC 6585). */
export const retryableStatuses: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** True for failures of the network, which may pass. */
export function isTransient(err: unknown): boolean {
  return codeOf(err) === 'unavailable' && !(err instanceof GantryError && err.details['permanent'] === true);
}

/**
 * The pause before attempt `attempt` (the first repetition is 1): doubling, bounded, and a random half of it, so that
 * those who were turned away together do not come back together.
 */
export function backoffMs(policy: RetryPolicy, attempt: number): number {
  const whole = Math.min(policy.maximumDelayMs, policy.firstDelayMs * 2 ** Math.max(0, attempt - 1));
  const half = Math.floor(whole / 2);
  return half + (half > 0 ? randomInt(half + 1) : 0);
}

/** Retry-After: seconds or a date. Undefined when it is neither. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

/** Waits; ends with cancelled as soon as the signal says so. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (err) {
    throw cancelled('waiting to try again', {}, err);
  }
}

/** The promise, or cancelled when the signal comes first; the promise itself goes on. */
export async function orCancelled<T>(promise: Promise<T>, signal: AbortSignal | undefined, doing: string): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) {
    promise.catch(() => undefined);
    throw cancelled(doing);
  }
  let stop = (): void => undefined;
  const stopped = new Promise<never>((_resolve, reject) => {
    stop = () => reject(cancelled(doing));
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
