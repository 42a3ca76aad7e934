/** Manifests, indexes and configs: small, read into memory, verified, then stored. */
import { dataLoss, resourceExhausted, unavailable } from '@gantry/errors';
import { digestOf, verifyDigest } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import type { Labels } from '@gantry/store';
import { backoffMs, isTransient, pause } from '../http/retry.ts';
import type { ImageContent } from '../image-content.ts';
import { commit } from './download.ts';
import type { DownloadComponents } from './download.ts';
import { ingestRef, takeWriter } from './ingest.ts';
import type { ContentKind, ProgressReporter } from './progress.ts';

const maximumAttempts = 3;

export interface Document {
  readonly descriptor: Descriptor;
  readonly kind: ContentKind;
  readonly bytes: Buffer;
}

/**
 * The bytes with the descriptor's size and digest: from the content store, from the descriptor itself, or from the
 * registry. Errors: resource exhausted (too large), data loss (wrong content), those of fetch.ts.
 */
export async function readDocument(
  { content, fetcher, retry }: DownloadComponents,
  descriptor: Descriptor,
  { limitBytes, signal }: { readonly limitBytes: number; readonly signal: AbortSignal | undefined },
): Promise<Buffer> {
  const { digest, size } = descriptor;
  if (size > limitBytes) throw resourceExhausted(`${digest} has ${size} bytes, more than ${limitBytes}`, { digest });
  const embedded = descriptor.data === undefined ? undefined : Buffer.from(descriptor.data, 'base64');
  const known = content.info(digest) === undefined ? embedded : await readStored(content, descriptor, limitBytes);
  if (known !== undefined && known.length === size && verifyDigest(digest, known)) return known;
  const avoid = new Set<string>();
  for (let attempt = 1; ; attempt++) {
    const fetched = await fetcher.fetch(descriptor, { signal, avoid });
    try {
      const bytes = await collect(fetched.body, size).finally(async () => fetched.discard());
      if (bytes.length === size && verifyDigest(digest, bytes)) return bytes;
      avoid.add(fetched.host);
      throw wrongDocument(descriptor, fetched.host, bytes);
    } catch (err) {
      if (attempt >= maximumAttempts || !isTransient(err)) throw err;
    }
    await pause(backoffMs(retry, attempt), signal);
  }
}

/** Reads a stored blob whole. Throws not found, resource exhausted. */
export async function readStored(
  content: Pick<ImageContent, 'read'>,
  { digest }: { readonly digest: string },
  limitBytes: number,
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of content.read(digest)) {
    length += piece.length;
    if (length > limitBytes) throw resourceExhausted(`${digest} has more than ${limitBytes} bytes`, { digest });
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** One byte more than there should be is enough to know. */
async function collect(body: AsyncIterable<Uint8Array>, size: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    pieces.push(piece);
    length += piece.length;
    if (length > size) break;
  }
  return Buffer.concat(pieces);
}

/** Too few bytes may be a broken connection; others are other content, which does not get better by asking again. */
function wrongDocument({ digest, size }: Descriptor, host: string, bytes: Buffer): Error {
  if (bytes.length < size) return unavailable(`${digest}: ${host} stopped after ${bytes.length} of ${size} bytes`);
  const what =
    bytes.length > size ? `more than the ${size} bytes it should have` : `other content (${digestOf(bytes)})`;
  return dataLoss(`${digest}: ${host} sends ${what}`, { digest });
}

/** Stores a verified document; when it is there already the labels are added. */
export async function storeDocument(
  content: ImageContent,
  { descriptor, kind, bytes }: Document,
  labels: Labels,
  progress: ProgressReporter,
  signal: AbortSignal | undefined,
): Promise<void> {
  const writer = await takeWriter(content, ingestRef(kind, descriptor), descriptor, signal);
  if (writer === undefined) {
    await content.addLabels(descriptor.digest, labels);
    progress.state('exists');
    return;
  }
  try {
    if (writer.status().offset > 0n) await writer.truncate(0n);
    await writer.write(bytes);
    await commit(writer, descriptor, labels, content);
  } finally {
    await writer.close();
  }
  progress.state('done');
}
