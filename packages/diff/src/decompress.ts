/** Unpacking a layer's bytes as they stream: gzip, zstd or nothing, told by the first bytes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Writable } from 'node:stream';
import zlib from 'node:zlib';
import { invalidArgument, messageOf, notImplemented } from '@gantry/errors';
import type { LayerCompression } from '@gantry/oci';

/** Size of the pieces that come out. */
const outputBytes = 256 * 1024;
/** As much of a child's complaint as goes into an error. */
const complaintBytes = 1000;

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
  else if (zstdStream === undefined) yield* throughCommand(source);
  else yield* throughStream(source, zstdStream(), 'zstd');
}

/** zstd came to node:zlib with Node 22.15. */
const zstdStream: (() => Duplex) | undefined = ((): (() => Duplex) | undefined => {
  const make: unknown = Reflect.get(zlib, 'createZstdDecompress');
  if (typeof make !== 'function') return undefined;
  return () => make({ chunkSize: outputBytes });
})();

async function* throughStream(
  source: AsyncIterable<Uint8Array>,
  stream: Duplex,
  what: string,
): AsyncGenerator<Uint8Array> {
  const fed = feed(source, stream);
  fed.catch((err: unknown) => stream.destroy(err instanceof Error ? err : new Error(String(err))));
  try {
    for await (const chunk of stream) if (chunk instanceof Uint8Array) yield chunk;
    await fed;
  } catch (err) {
    // The source's own failure comes first; everything else is the data's fault.
    await fed;
    throw invalidArgument(`${what} data: ${messageOf(err)}`, {}, err);
  } finally {
    stream.destroy();
  }
}

/** Writes all of the source; once the other side takes no more, the rest is read and dropped. Throws the source's errors. */
async function feed(source: AsyncIterable<Uint8Array>, stream: Writable): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    for (const event of ['end', 'error', 'close']) stream.once(event, resolve);
  });
  let open = true;
  void ended.then(() => (open = false));
  for await (const chunk of source) {
    if (open && !stream.write(chunk)) await Promise.race([once(stream, 'drain').catch(() => undefined), ended]);
  }
  if (open) stream.end();
}

async function* throughCommand(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const child = spawn('zstd', ['-dcq'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, complaintBytes);
  });
  const exited = new Promise<number | NodeJS.ErrnoException>((resolve) => {
    child.once('error', resolve);
    child.once('close', (status) => resolve(status ?? -1));
  });
  child.stdin.on('error', () => undefined);
  const fed = feed(source, child.stdin);
  fed.catch(() => child.kill());
  try {
    for await (const chunk of child.stdout) if (chunk instanceof Uint8Array) yield chunk;
    await fed;
    const outcome = await exited;
    if (typeof outcome !== 'number') {
      throw notImplemented(`zstd layers without the zstd command or Node 22.15: ${outcome.message}`, {}, outcome);
    }
    if (outcome !== 0) throw invalidArgument(`zstd data: ${complaint.trim()}`);
  } finally {
    child.kill();
  }
}
