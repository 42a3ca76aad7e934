/** Bytes → JSON value, bounded in size and depth, with numbers that a double cannot hold told apart. */
import { invalidArgument } from '@gantry/errors';
import { refuse } from './parser.ts';
import type { Parser } from './parser.ts';

/** How much of a stranger's document is accepted. */
export interface JsonLimits {
  readonly maximumBytes: number;
  readonly maximumDepth: number;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

/**
 * Parses a document. `what` names it in errors (`runtime configuration`). Throws invalid argument when it is too large,
 * nested too deeply, not UTF-8 or not JSON.
 */
export function parseJson(unsafeDocument: Uint8Array | string, what: string, limits: JsonLimits): unknown {
  const sizeBytes = typeof unsafeDocument === 'string' ? Buffer.byteLength(unsafeDocument) : unsafeDocument.byteLength;
  if (sizeBytes > limits.maximumBytes) {
    throw invalidArgument(`${what}: larger than ${limits.maximumBytes} bytes`);
  }
  const source = typeof unsafeDocument === 'string' ? unsafeDocument : decode(unsafeDocument, what);
  if (depthOf(source, limits.maximumDepth) > limits.maximumDepth) {
    throw invalidArgument(`${what}: nested deeper than ${limits.maximumDepth} levels`);
  }
  try {
    return JSON.parse(source);
  } catch (err) {
    throw invalidArgument(`${what}: not valid JSON`, {}, err);
  }
}

function decode(bytes: Uint8Array, what: string): string {
  try {
    return utf8.decode(bytes);
  } catch (err) {
    throw invalidArgument(`${what}: not valid UTF-8`, {}, err);
  }
}

/** The nesting depth of brackets outside strings; stops counting once above `limit`. */
function depthOf(source: string, limit: number): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < source.length; i++) {
    const char = source.charCodeAt(i);
    if (char === 0x22) {
      i = endOfString(source, i);
    } else if (char === 0x5b || char === 0x7b) {
      depth++;
      if (depth > deepest) deepest = depth;
      if (deepest > limit) return deepest;
    } else if (char === 0x5d || char === 0x7d) {
      depth--;
    }
  }
  return deepest;
}

/** The index of the quote that ends the string which begins at `start` (the end of the text when none does). */
function endOfString(source: string, start: number): number {
  for (let end = source.indexOf('"', start + 1); end >= 0; end = source.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (source.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return source.length;
}

/** 2^64 - 1 as a JSON number becomes this double; it is the one rounded value whose meaning is certain. */
const allBits = 2 ** 64;

/**
 * A 64-bit value of which every bit counts (a seccomp argument): above 2^53 a JSON number may have been rounded, so
 * that only all bits set is accepted there.
 */
export const exactUint64: Parser<number> = (value, path) => {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > allBits) {
    throw refuse(path, 'must be a whole number between 0 and 2^64 - 1');
  }
  if (!Number.isSafeInteger(value) && value !== allBits) {
    throw refuse(path, `${value} is above 2^53 and may have been rounded`);
  }
  return value;
};
