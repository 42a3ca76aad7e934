/** Packing and unpacking a layer's bytes as they stream: gzip, zstd or nothing. */
import type { Duplex } from 'node:stream';
import zlib from 'node:zlib';
import type { LayerCompression } from '@gantry/oci';
import { throughStream, throughZstd } from './transform.ts';

/** Size of the pieces that come out: each is a trip to the thread pool and back. */
const outputBytes = 1024 * 1024;

const zstdUnpacker = zlibStream('createZstdDecompress');
const zstdPacker = zlibStream('createZstdCompress');

/** gzip `1f 8b 08`, zstd `28 b5 2f fd`, a skippable zstd frame `5? 2a 4d 18` (RFC 1952, RFC 8878). */
export function detectCompression(start: Uint8Array): LayerCompression {
  const [a, b, c, d] = start;
  if (a === 0x1f && b === 0x8b && c === 0x08) return 'gzip';
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return 'zstd';
  if (a !== undefined && (a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return 'zstd';
  return 'none';
}

/**
 * The uncompressed bytes of `source`. The source is read to its end, also past the end of the compressed data. Throws
 * invalid argument for broken data, not implemented when zstd is neither in this Node nor installed.
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  compression: LayerCompression,
): AsyncGenerator<Uint8Array> {
  if (compression === 'none') yield* source;
  else if (compression === 'gzip') yield* throughStream(source, zlib.createGunzip({ chunkSize: outputBytes }), 'gzip');
  else if (zstdUnpacker === undefined) yield* throughZstd(source, ['-dcq']);
  else yield* throughStream(source, zstdUnpacker(), 'zstd');
}

/** `source` packed as a layer. The same bytes give the same result on the same build. */
export async function* compress(
  source: AsyncIterable<Uint8Array>,
  compression: LayerCompression,
): AsyncGenerator<Uint8Array> {
  if (compression === 'none') yield* source;
  else if (compression === 'gzip') yield* throughStream(source, zlib.createGzip({ chunkSize: outputBytes }), 'gzip');
  else if (zstdPacker === undefined) yield* throughZstd(source, ['-cq']);
  else yield* throughStream(source, zstdPacker(), 'zstd');
}

/** zstd came to node:zlib with Node 22.15. */
function zlibStream(name: string): (() => Duplex) | undefined {
  const make: unknown = Reflect.get(zlib, name);
  if (typeof make !== 'function') return undefined;
  return () => make({ chunkSize: outputBytes });
}
