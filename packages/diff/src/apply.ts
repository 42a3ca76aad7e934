/**
 * One apply, inside a worker: blob → decompression → diff ID → tar → tree. Everything is streamed; the blob is read to its
 * last byte whatever the tar says, so that the digests are over all of it.
 */
import { createHash } from 'node:crypto';
import { decompress, detectCompression, TarParser } from '@gantry/archive';
import { dataLoss, isCode, messageOf, notImplemented } from '@gantry/errors';
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { finishDigest, layerMediaType, mediaTypes, parseDigest } from '@gantry/oci';
import type { LayerCompression } from '@gantry/oci';
import { BlobReader } from './blob-reader.ts';
import type { ApplyRequest, DiffResult, StreamProcessor } from './differ-types.ts';
import { plainMounts } from './id-maps.ts';
import { LayerTar } from './layer-tar.ts';
import { openLayerTarget, optionValue } from './mounts.ts';
import { chainOf, throughProcessors } from './stream-processors.ts';

/**
 * Applies a layer. Data loss when the blob is not what its digest says (of a packed one that still unpacks only the size is
 * looked at: its diff ID is the caller's to compare), invalid argument when it is and is malformed,
 * resource exhausted on a full disk, not implemented for a media type without a processor, unknown when one fails. After a
 * failure the tree is half-made: it is the caller's to remove.
 */
export async function applyLayer(
  sys: Syscalls,
  request: ApplyRequest,
  processors: readonly StreamProcessor[] = [],
): Promise<DiffResult> {
  const digest = parseDigest(request.digest);
  const chain = chainOf(request.mediaType, processors, mediaTypes.layer);
  const packing = packingOf(chain.mediaType);
  await using blob = new BlobReader(sys, request.blobPath, digest);
  using plain = await plainMounts(sys, request.mounts);
  const target = openLayerTarget(sys, plain.mounts);
  const layer = new LayerTar(sys, target.value);
  try {
    const processed = chain.steps.length > 0;
    const source = processed ? throughProcessors(blob.read(), chain, request.payloads ?? {}) : blob.read();
    const result = await unpack(blob, { source, processed, packing }, layer);
    blob.verify(request.size);
    if (request.syncFs === true) syncTree(sys, request);
    return result;
  } catch (err) {
    // A corrupt blob fails in many ways; say so rather than how.
    if (!isCode(err, 'resource exhausted')) await blob.explain(request.size, err);
    throw err;
  } finally {
    layer.abandon();
    target.close();
  }
}

/** What there is to unpack. */
interface Packed {
  readonly source: AsyncIterable<Uint8Array>;
  /** Whether stream processors make other bytes of the blob's. */
  readonly processed: boolean;
  readonly packing: 'plain' | 'detect';
}

async function unpack(
  blob: BlobReader,
  { source: given, processed, packing }: Packed,
  layer: LayerTar,
): Promise<DiffResult> {
  const parser = new TarParser(layer);
  const [start, source] = await peek(given);
  const compression: LayerCompression = packing === 'plain' ? 'none' : detectCompression(start);
  const isPlain = compression === 'none' && !processed;
  if (isPlain) blob.lend(); // its bytes are used up at once
  else if (!processed) blob.leaveUnhashed(); // what becomes of them is hashed, and a checksum goes with them
  // The hash of a plain blob is that of its bytes.
  const ownHash = isPlain && blob.algorithm === 'sha256' ? undefined : createHash('sha256');
  let size = 0n;
  for await (const bytes of decompress(source, compression)) {
    ownHash?.update(bytes);
    size += BigInt(bytes.length);
    parser.write(bytes);
  }
  parser.finish();
  layer.finish();
  return { mediaType: mediaTypes.layer, digest: ownHash === undefined ? blob.found() : finishDigest(ownHash), size };
}

/** The plain OCI type is what it says; every other known type is told by its first bytes, so mislabelled ones work. */
function packingOf(mediaType: string): 'plain' | 'detect' {
  const known = layerMediaType(mediaType);
  if (known !== undefined && !known.encrypted) return mediaType === mediaTypes.layer ? 'plain' : 'detect';
  if (/\+(?:gzip|zstd)$/.test(mediaType)) return 'detect';
  throw notImplemented(`no processor for media-type ${JSON.stringify(mediaType)}`);
}

/** The first bytes, and all of them. */
async function peek(
  source: AsyncIterable<Uint8Array>,
): Promise<readonly [start: Uint8Array, all: AsyncIterable<Uint8Array>]> {
  const pieces = source[Symbol.asyncIterator]();
  const rest = { [Symbol.asyncIterator]: () => pieces };
  const first = await pieces.next();
  if (first.done === true) return [new Uint8Array(0), rest];
  const { value } = first;
  async function* all(): AsyncGenerator<Uint8Array> {
    try {
      yield value;
      yield* rest;
    } finally {
      await pieces.return?.();
    }
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
