/** Call metadata: repeated pairs on the wire, a map in memory. */
import type { ttrpcWire } from '@gantry/api/shim';

/** Keys are lower case by convention; of several values under one key the first counts. */
export type Metadata = ReadonlyMap<string, string>;

export const noMetadata: Metadata = new Map();

export function metadataFromWire(pairs: readonly ttrpcWire.KeyValue[]): Metadata {
  if (pairs.length === 0) return noMetadata;
  const metadata = new Map<string, string>();
  for (const { key, value } of pairs) if (!metadata.has(key)) metadata.set(key, value);
  return metadata;
}

export function metadataToWire(metadata: Metadata): ttrpcWire.KeyValue[] {
  return Array.from(metadata, ([key, value]) => ({ key, value }));
}
