/** Our content store as image archives see it. */
import { compress } from '@gantry/archive';
import type { ArchiveContent, NewBlob, StoredFile } from '@gantry/archive/images';
import { isCode, notFound } from '@gantry/errors';
import { readStored, takeWriter } from '@gantry/images';
import type { ImageContent } from '@gantry/images';

/** Pieces of an archive come as small as 4 KiB; each write costs a turn of the thread pool. */
const writeBytes = 512 * 1024;

const uncompressedLabel = 'containerd.io/uncompressed';

/** What is written is held by the lease of `content`. */
export function archiveContent(content: ImageContent, signal: AbortSignal): ArchiveContent {
  return {
    write: async (source, blob) => write(content, source, blob, signal),
    async sizeOf(digest) {
      const info = content.info(digest);
      if (info === undefined) throw notFound(`content digest ${digest}`, { digest });
      return info.size;
    },
    read: (digest) => content.read(digest),
    readAll: async (digest, limitBytes) => readStored(content, { digest }, limitBytes),
    setLabels: async (digest, labels) => content.addLabels(digest, labels),
  };
}

async function write(
  content: ImageContent,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { ref, expected = '', size = 0n }: NewBlob,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly size: bigint }> {
  const writer = await takeWriter(content, ref, { digest: expected, size: Number(size) }, signal);
  if (writer === undefined) return { digest: expected, size };
  try {
    // Another namespace has it, or an earlier attempt had come to its end.
    const complete = expected !== '' && writer.status().offset === size && writer.digest() === expected;
    if (!complete) {
      await writer.truncate(0n);
      for await (const bytes of gathered(source)) await writer.write(bytes);
    }
    const digest = writer.digest();
    const written = writer.status().offset;
    await writer.commit({ size, expected }).catch((err: unknown) => {
      if (!isCode(err, 'already exists')) throw err;
    });
    return { digest, size: written };
  } finally {
    await writer.close();
  }
}

async function* gathered(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  for await (const bytes of source) {
    pieces.push(bytes);
    length += bytes.length;
    if (length < writeBytes) continue;
    yield pieces.length === 1 ? bytes : Buffer.concat(pieces, length);
    pieces = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(pieces, length);
}

/** A layer packed with gzip, beside the one that was stored plain. */
export async function packLayer(content: ArchiveContent, layer: StoredFile): Promise<StoredFile> {
  const packed = compress(content.read(layer.digest), 'gzip');
  const { digest, size } = await content.write(packed, { ref: `pack-${layer.digest}` });
  await content.setLabels(digest, { [uncompressedLabel]: layer.digest });
  return { digest, size, compression: 'gzip' };
}
