/** How a process ended. */
import { timestampToNs } from '@gantry/api';
import type { wellKnown } from '@gantry/api';

export interface ExitStatus {
  /** 0–255; 128 + n when signal n ended it; 255 when it could not be learned. */
  readonly exitStatus: number;
  /** Undefined when the process never ran. */
  readonly exitedAt: Date | undefined;
}

export function toExitStatus(reply: {
  readonly exitStatus: number;
  readonly exitedAt: wellKnown.Timestamp | undefined;
}): ExitStatus {
  return { exitStatus: reply.exitStatus, exitedAt: toDate(reply.exitedAt) };
}

/** A wire timestamp as a Date; undefined for an absent one and for Go's zero time. */
export function toDate(timestamp: wellKnown.Timestamp | undefined): Date | undefined {
  if (timestamp === undefined || timestamp.seconds <= 0n) return undefined;
  return new Date(Number(timestampToNs(timestamp) / 1_000_000n));
}
