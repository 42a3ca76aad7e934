/**
 * How a key becomes bytes: the UTF-8 of its components, joined by NUL, so that the order of the bytes is the order of
 * the components and everything below a prefix is one range.
 *
 * Inside this room a key is a **path**: a string whose characters are those bytes (latin1). JavaScript compares such
 * strings as LMDB compares the bytes, and they can be keys of a Map.
 */
import { invalidArgument } from '@gantry/errors';
import type { Key } from './store.ts';

/** A key in its encoded form. */
export type KeyPath = string;

/** The longest key in bytes that LMDB takes with pages of 4 KiB, as the binding counts it. */
export const maximumKeyBytes = 1978;

const separator = '\0';
/** The smallest character above the separator: the end of the range below a path. */
const behindSeparator = '\x01';

/** Encodes a key. Throws invalid argument for a component that is empty, holds NUL or is not well-formed Unicode. */
export function encodeKey(key: Key): KeyPath {
  if (key.length === 0) throw invalidArgument('store key without components');
  const path = key.map(encodeComponent).join(separator);
  if (path.length > maximumKeyBytes) {
    throw invalidArgument(
      `store key ${JSON.stringify(key.join('/').slice(0, 64))}… is longer than ${maximumKeyBytes} bytes`,
    );
  }
  return path;
}

/** The inverse of `encodeKey`. */
export function decodeKey(path: KeyPath): string[] {
  return path.split(separator).map((part) => Buffer.from(part, 'latin1').toString('utf8'));
}

/** A half-open range of paths. */
export interface PathRange {
  readonly start: KeyPath;
  readonly end: KeyPath;
}

/** The range of everything strictly below `prefix`, behind its child `after`. An empty prefix is the whole store. */
export function rangeBelow(prefix: Key, after: string | undefined): PathRange {
  const below = prefix.length === 0 ? '' : encodeKey(prefix) + separator;
  const end = prefix.length === 0 ? '\xff' : below.slice(0, -1) + behindSeparator;
  const start = after === undefined ? below : below + encodeComponent(after) + behindSeparator;
  return { start: start === '' ? separator : start, end };
}

function encodeComponent(component: string): string {
  const bytes = Buffer.from(component, 'utf8');
  const lossless = bytes.length === component.length || bytes.toString('utf8') === component;
  if (component === '' || component.includes(separator) || !lossless) {
    throw invalidArgument(`store key component ${JSON.stringify(component.slice(0, 64))}`);
  }
  return bytes.toString('latin1');
}
