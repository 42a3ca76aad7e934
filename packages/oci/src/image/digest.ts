/** Content digests: their grammar, and computing and comparing them. A parsed digest is safe as a path component. */
import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { invalidArgument, notImplemented } from '@gantry/errors';

/** A digest that went through `parseDigest`: `<algorithm>:<encoded>`. */
export type Digest = string & { readonly __digest: true };

/** Registered algorithms and the number of lower-case hexadecimal digits of each. */
const hexLengths: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha512', 128],
  ['blake3', 64],
]);

/** The part of the registered algorithms that this process can compute. */
const computable: ReadonlySet<string> = new Set(['sha256', 'sha512']);

const grammar = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;
const lowerHex = /^[0-9a-f]+$/;

/** Longest digest accepted; the registered ones are far shorter. A path component has at most 255 bytes. */
const maximumLength = 255;

/**
 * Parses a digest. Registered algorithms must have exactly their number of lower-case hexadecimal digits; others need
 * only be well formed (they can be stored, not verified). Throws invalid argument.
 */
export function parseDigest(unsafeText: string): Digest {
  if (!isDigest(unsafeText)) {
    throw invalidArgument(`invalid digest ${JSON.stringify(unsafeText.slice(0, maximumLength))}`);
  }
  return unsafeText;
}

/** True when `parseDigest` would accept the text. */
export function isDigest(unsafeText: string): unsafeText is Digest {
  if (unsafeText.length > maximumLength || !grammar.test(unsafeText)) return false;
  const colon = unsafeText.indexOf(':');
  const encoded = unsafeText.slice(colon + 1);
  const length = hexLengths.get(unsafeText.slice(0, colon));
  return length === undefined || (encoded.length === length && lowerHex.test(encoded));
}

/** `sha256` of `sha256:…`. */
export function digestAlgorithm(digest: Digest): string {
  return digest.slice(0, digest.indexOf(':'));
}

/** What follows the colon. */
export function digestEncoded(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** The sha256 digest of some bytes (a string counts as UTF-8). */
export function digestOf(content: Uint8Array | string): Digest {
  return `sha256:${createHash('sha256').update(content).digest('hex')}` as Digest;
}

/** A running hash for the digest's algorithm; finish it with `finishDigest`. Throws not implemented when it is not computable. */
export function hasherFor(digest: Digest): Hash {
  const algorithm = digestAlgorithm(digest);
  if (!computable.has(algorithm)) throw notImplemented(`digest algorithm ${JSON.stringify(algorithm)}`);
  return createHash(algorithm);
}

/** Ends a hash started for `algorithm` (sha256 by default) and gives its digest. */
export function finishDigest(hash: Hash, algorithm = 'sha256'): Digest {
  return `${algorithm}:${hash.digest('hex')}` as Digest;
}

/** True when the content has this digest. Throws not implemented for an algorithm that is not computable. */
export function verifyDigest(digest: Digest, content: Uint8Array | string): boolean {
  return finishDigest(hasherFor(digest).update(content), digestAlgorithm(digest)) === digest;
}
