/** `google.protobuf.Timestamp`: seconds and nanoseconds since 1970 in UTC; nanoseconds are always 0 to 999,999,999. */
import { invalidArgument } from '@gantry/errors';
import type { Timestamp } from './gen/google/protobuf.ts';

const nsPerSecond = 1_000_000_000n;
const nsPerMs = 1_000_000n;

/** From nanoseconds since 1970, which may be negative. */
export function timestampFromNs(ns: bigint): Timestamp {
  let seconds = ns / nsPerSecond;
  let nanos = ns % nsPerSecond;
  if (nanos < 0n) {
    seconds -= 1n;
    nanos += nsPerSecond;
  }
  return { seconds, nanos: Number(nanos) };
}

/** From a Date, which knows milliseconds. Throws invalid argument for an invalid date. */
export function timestampFromDate(date: Date): Timestamp {
  const ms = date.getTime();
  if (Number.isNaN(ms)) throw invalidArgument('timestamp: invalid date');
  return timestampFromNs(BigInt(ms) * nsPerMs);
}

/** Nanoseconds since 1970. */
export function timestampToNs(timestamp: Timestamp): bigint {
  return timestamp.seconds * nsPerSecond + BigInt(timestamp.nanos);
}

/** Rounded down to the millisecond. */
export function timestampToDate(timestamp: Timestamp): Date {
  return new Date(Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1_000_000));
}

// The wall clock in nanoseconds: the monotonic clock, anchored at the wall clock and anchored anew when the two disagree by
// more than a clock's tick, because somebody set the time.
const maxDriftNs = 2n * nsPerMs;
let anchorNs = 0n;

/** Now, in nanoseconds since 1970. Never less precise than a millisecond, and follows the system's clock. */
export function nowNs(): bigint {
  const wallNs = BigInt(Date.now()) * nsPerMs;
  const clockNs = process.hrtime.bigint();
  const estimate = anchorNs + clockNs;
  const drift = estimate - wallNs;
  if (drift >= 0n && drift < maxDriftNs) return estimate;
  anchorNs = wallNs - clockNs;
  return wallNs;
}

export function timestampNow(): Timestamp {
  return timestampFromNs(nowNs());
}

/** `2026-01-02T03:04:05.000000006Z`: RFC 3339, nanoseconds without trailing zeros, as Go prints it. */
export function timestampToRfc3339(timestamp: Timestamp): string {
  const whole = new Date(Number(timestamp.seconds) * 1000).toISOString().slice(0, -5);
  const fraction = String(timestamp.nanos).padStart(9, '0').replace(/0+$/, '');
  return fraction === '' ? `${whole}Z` : `${whole}.${fraction}Z`;
}

/** Reads RFC 3339 with up to nine digits of a second. Throws invalid argument. */
export function timestampFromRfc3339(text: string): Timestamp {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/i.exec(text);
  const [, whole = '', fraction = '', zone = ''] = match ?? [];
  const ms = match === null ? Number.NaN : Date.parse(`${whole}${zone}`);
  if (Number.isNaN(ms)) throw invalidArgument(`timestamp "${text}"`);
  return { seconds: BigInt(ms / 1000), nanos: Number(fraction.padEnd(9, '0')) };
}
