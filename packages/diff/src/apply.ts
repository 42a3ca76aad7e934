/**
 * One apply, inside a worker: blob → digest → decompression → diff ID → tar → tree. Everything is streamed; the blob is
 * read to its last byte whatever the tar says, so that both digests are over all of it.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { decompress, detectCompression, TarParser } from '@gantry/archive';
import { dataLoss, isCode, messageOf, notImplemented } from '@gantry/errors';
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { digestAlgorithm, finishDigest, hasherFor, layerMediaType, mediaTypes, parseDigest } from '@gantry/oci';
import type { Digest, LayerCompression } from '@gantry/oci';
import type { ApplyRequest, DiffResult } from './differ-types.ts';
import { LayerTar } from './layer-tar.ts';
import { openLayerTarget, optionValue } from './mounts.ts';

const readBytes = 1024 * 1024;

/**
 * Applies a layer. Data loss when the blob is not what its digest says, invalid argument when it is and is malformed,
 * resource exhausted on a full disk, not implemented for a media type without a processor. After a failure the tree is
 * half-made: it is the caller's to remove.
 */
export async function applyLayer(sys: Syscalls, request: ApplyRequest): Promise<DiffResult> {
  const digest = parseDigest(request.digest);
  const packing = packingOf(request.mediaType);
  const blob = new Blob(request.blobPath, digest);
  const target = openLayerTarget(sys, request.mounts);
  const layer = new LayerTar(sys, target.value);
  try {
    const result = await unpack(blob, packing, layer);
    blob.verify(request.size);
    if (request.syncFs === true) syncTree(sys, request);
    return result;
  } catch (err) {
    // A corrupt blob fails in many ways; say so rather than how.
    if (!isCode(err, 'resource exhausted')) await blob.verifyRest(request.size, err);
    throw err;
  } finally {
    layer.abandon();
    target.close();
  }
}

async function unpack(blob: Blob, packing: 'plain' | 'detect', layer: LayerTar): Promise<DiffResult> {
  const diffId = createHash('sha256');
  let size = 0n;
  const parser = new TarParser(layer);
  const [start, source] = await peek(blob.read());
  const compression: LayerCompression = packing === 'plain' ? 'none' : detectCompression(start);
  for await (const bytes of decompress(source, compression)) {
    diffId.update(bytes);
    size += BigInt(bytes.length);
    parser.write(bytes);
  }
  parser.finish();
  layer.finish();
  return { mediaType: mediaTypes.layer, digest: finishDigest(diffId), size };
}

/** The plain OCI type is what it says; every other known type is told by its first bytes, so mislabelled ones work. */
function packingOf(mediaType: string): 'plain' | 'detect' {
  const known = layerMediaType(mediaType);
  if (known !== undefined && !known.encrypted) return mediaType === mediaTypes.layer ? 'plain' : 'detect';
  if (/\+(?:gzip|zstd)$/.test(mediaType)) return 'detect';
  throw notImplemented(`no processor for media-type ${JSON.stringify(mediaType)}`);
}

/** A blob being read, with the hash of what was read so far. */
class Blob {
  readonly #digest: Digest;
  readonly #hash: ReturnType<typeof hasherFor>;
  readonly #chunks: AsyncIterator<unknown>;
  #read = 0n;
  #readable = true;

  constructor(path: string, digest: Digest) {
    this.#digest = digest;
    this.#hash = hasherFor(digest);
    this.#chunks = createReadStream(path, { highWaterMark: readBytes })[Symbol.asyncIterator]();
  }

  /** The bytes from where the last reader stopped. Not ended by its consumer: `verifyRest` goes on. */
  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = await this.#chunks.next().catch((err: unknown) => {
        this.#readable = false;
        throw err;
      });
      if (next.done === true) return;
      if (!(next.value instanceof Uint8Array)) continue;
      this.#hash.update(next.value);
      this.#read += BigInt(next.value.length);
      yield next.value;
    }
  }

  /** After the last byte: throws data loss when it was another blob. */
  verify(size: bigint | undefined, cause?: unknown): void {
    if (size !== undefined && size !== 0n && size !== this.#read) {
      throw dataLoss(`blob ${this.#digest} has ${this.#read} bytes, expected ${size}`, {}, cause);
    }
    const found = finishDigest(this.#hash, digestAlgorithm(this.#digest));
    if (found !== this.#digest) throw dataLoss(`blob ${this.#digest} has the digest ${found}`, {}, cause);
  }

  /** Reads what is left after `cause` and verifies. A blob that cannot be read tells nothing more. */
  async verifyRest(size: bigint | undefined, cause: unknown): Promise<void> {
    if (isCode(cause, 'data loss')) return;
    try {
      for await (const bytes of this.read()) void bytes;
    } catch {
      // The cause is reported.
    }
    if (this.#readable) this.verify(size, cause);
  }
}

/** The first bytes, and all of them. */
async function peek(
  source: AsyncGenerator<Uint8Array>,
): Promise<readonly [start: Uint8Array, all: AsyncIterable<Uint8Array>]> {
  const first = await source.next();
  if (first.done === true) return [new Uint8Array(0), source];
  const { value } = first;
  async function* all(): AsyncGenerator<Uint8Array> {
    yield value;
    yield* source;
  }
  return [value, all()];
}

function syncTree(sys: Syscalls, request: ApplyRequest): void {
  const [mount] = request.mounts;
  if (mount === undefined) return;
  const fd = sys.openat(AT_FDCWD, optionValue(mount, 'upperdir') ?? mount.source, O_RDONLY | O_DIRECTORY);
  try {
    sys.syncfs(fd);
  } catch (err) {
    throw dataLoss(`syncing the snapshot: ${messageOf(err)}`, {}, err);
  } finally {
    sys.close(fd);
  }
}
