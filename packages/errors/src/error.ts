/**
 * One error class with the field's codes. Every room below the wire throws these; the edges (gRPC, ttrpc, the
 * command lines) translate them with `status.ts` and nowhere else.
 */

/** The classes of failure that containerd's clients tell apart; the text is what follows the last colon on the wire. */
export const errorCodes = [
  'unknown',
  'cancelled',
  'invalid argument',
  'deadline exceeded',
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
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** What a client or an operator may want beside the sentence: ids, paths, errno names. Never secrets. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * A failure with a code that survives every boundary of the system.
 * The message is lower case, without a full stop, and names the subject: `container "web"`.
 */
export class GantryError extends Error {
  override readonly name = 'GantryError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: ErrorDetails } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.details = options.details ?? {};
  }
}

type Make = (message: string, details?: ErrorDetails, cause?: unknown) => GantryError;

function maker(code: ErrorCode): Make {
  return (message, details = {}, cause = undefined) =>
    new GantryError(code, message, cause === undefined ? { details } : { details, cause });
}

export const invalidArgument = maker('invalid argument');
export const notFound = maker('not found');
export const alreadyExists = maker('already exists');
export const failedPrecondition = maker('failed precondition');
export const unavailable = maker('unavailable');
export const notImplemented = maker('not implemented');
export const outOfRange = maker('out of range');
export const resourceExhausted = maker('resource exhausted');
export const permissionDenied = maker('permission denied');
export const deadlineExceeded = maker('deadline exceeded');
export const cancelled = maker('cancelled');
export const aborted = maker('aborted');
export const dataLoss = maker('data loss');
export const internal = maker('internal');
export const unknown = maker('unknown');

/** The code of anything that was thrown; what is not ours is `unknown`. */
export function codeOf(err: unknown): ErrorCode {
  return err instanceof GantryError ? err.code : 'unknown';
}

export function isCode(err: unknown, code: ErrorCode): boolean {
  return codeOf(err) === code;
}

/** The sentence of anything that was thrown. */
export function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

/**
 * Says what was being done when `err` happened: `wrap(err, 'mounting /proc')` gives `mounting /proc: EPERM: …`.
 * Keeps the code and the details; `code` replaces an unknown code only.
 */
export function wrap(err: unknown, doing: string, code: ErrorCode = 'unknown'): GantryError {
  const own = codeOf(err);
  const details = err instanceof GantryError ? err.details : {};
  return new GantryError(own === 'unknown' ? code : own, `${doing}: ${messageOf(err)}`, { cause: err, details });
}
