/** Reading through layers: the writes of a transaction over those on their way to the disk over what is durable. */
import type { Batch, EngineEntry, EngineReader } from './engine.ts';
import { decodeKey, encodeKey, rangeBelow } from './key.ts';
import type { KeyPath, PathRange } from './key.ts';
import type { Entry, Key, ScanOptions } from './store.ts';

/** Entries fetched at a time; bounds memory and the time a cursor is held. */
const pageEntries = 256;

/** The newest layer first. */
export function readLayers(layers: readonly Batch[], base: EngineReader, key: Key): Uint8Array | undefined {
  const path = encodeKey(key);
  for (const layer of layers) {
    if (layer.has(path)) return layer.get(path)?.slice();
  }
  return base.get(path);
}

/** The entries of the range as they are when the iteration starts, as far as the layers are concerned. */
export function* scanLayers(
  layers: readonly Batch[],
  base: EngineReader,
  prefix: Key,
  options: ScanOptions = {},
): Generator<Entry> {
  const range = rangeBelow(prefix, options.after);
  const above = flatten(layers, range);
  const paths = [...above.keys()].sort();
  let left = options.limit ?? Number.POSITIVE_INFINITY;
  let next = 0;
  for (const entry of pages(base, range, Math.min(pageEntries, left + above.size))) {
    for (; next < paths.length; next++) {
      const path = paths[next];
      if (path === undefined || path > entry.path) break;
      const value = above.get(path);
      if (value === undefined) continue;
      if (left-- <= 0) return;
      yield { key: decodeKey(path), value: value.slice() };
    }
    if (above.has(entry.path)) continue;
    if (left-- <= 0) return;
    yield { key: decodeKey(entry.path), value: entry.value };
  }
  for (const path of paths.slice(next)) {
    const value = above.get(path);
    if (value === undefined) continue;
    if (left-- <= 0) return;
    yield { key: decodeKey(path), value: value.slice() };
  }
}

function* pages(base: EngineReader, range: PathRange, size: number): Generator<EngineEntry> {
  let start = range.start;
  let exclusive = false;
  for (;;) {
    const page = base.page({ start, end: range.end }, size, exclusive);
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < size) return;
    start = last.path;
    exclusive = true;
  }
}

function flatten(layers: readonly Batch[], range: PathRange): Map<KeyPath, Uint8Array | undefined> {
  const flat = new Map<KeyPath, Uint8Array | undefined>();
  for (const layer of layers) {
    for (const [path, value] of layer) {
      if (path >= range.start && path < range.end && !flat.has(path)) flat.set(path, value);
    }
  }
  return flat;
}
