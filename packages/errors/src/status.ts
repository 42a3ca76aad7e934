/**
 * The one place where our errors become gRPC/ttrpc status codes and back.
 *
 * containerd's clients rebuild the error class from code and text and print the text verbatim; by convention the text
 * is `<subject>: <class>`, with the class exactly once at the end.
 */
import { errorCodes, GantryError, messageOf } from './error.ts';
import type { ErrorCode } from './error.ts';

/** What travels: a google.rpc.Code number and a sentence. */
export interface Status {
  readonly code: number;
  readonly message: string;
}

/** google.rpc.Code numbers (https://grpc.io/docs/guides/status-codes). */
export const statusNumbers: Readonly<Record<ErrorCode, number>> = {
  cancelled: 1,
  unknown: 2,
  'invalid argument': 3,
  'deadline exceeded': 4,
  'not found': 5,
  'already exists': 6,
  'permission denied': 7,
  'resource exhausted': 8,
  'failed precondition': 9,
  aborted: 10,
  'out of range': 11,
  'not implemented': 12,
  internal: 13,
  unavailable: 14,
  'data loss': 15,
  unauthenticated: 16,
};

/** Codes whose class text containerd puts at the end of the message. */
const suffixed: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'invalid argument',
  'not found',
  'already exists',
  'permission denied',
  'resource exhausted',
  'failed precondition',
  'aborted',
  'out of range',
  'not implemented',
  'internal',
  'unavailable',
  'data loss',
  'unauthenticated',
]);

/** Translates anything thrown into what travels. Never throws. */
export function toStatus(err: unknown): Status {
  const code = err instanceof GantryError ? err.code : 'unknown';
  const text = messageOf(err);
  const ends = text === code || text.endsWith(`: ${code}`);
  return { code: statusNumbers[code], message: suffixed.has(code) && !ends ? `${text}: ${code}` : text };
}

/** The error that a status stands for; the class text at the end of the message is removed. */
export function fromStatus(status: Status): GantryError {
  const code = errorCodes.find((name) => statusNumbers[name] === status.code) ?? 'unknown';
  const tail = `: ${code}`;
  const message = status.message.endsWith(tail) ? status.message.slice(0, -tail.length) : status.message;
  return new GantryError(code, message);
}
