/**
 * One apply, inside a worker: blob → digest → decompression → diff ID → tar → tree. Everything is streamed; the blob is
 * read to its last byte whatever the tar says, so that both digests are over all of it.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { decompress, detectCompression, TarParser } from '@gantry/archive';
import { dataLoss, isCode, messageOf, notImplemented } from '@gantry/errors';
import { AT_FDCWD, O_DIRECTORY, O_RDONLY, POSIX_FADV_DONTNEED } from '@gantry/libc';
import type { FileCalls, Syscalls } from '@gantry/libc';
import { digestAlgorithm, finishDigest, hasherFor, layerMediaType, mediaTypes, parseDigest } from '@gantry/oci';
import type { Digest, LayerCompression } from '@gantry/oci';
import type { ApplyRequest, DiffResult, StreamProcessor } from './differ-types.ts';
import { plainMounts } from './id-maps.ts';
import { LayerTar } from './layer-tar.ts';
import { openLayerTarget, optionValue } from './mounts.ts';
import { chainOf, throughProcessors } from './stream-processors.ts';

const readBytes = 1024 * 1024;
/** Packed bytes wait in the unpacker, each piece in a buffer of its own. */
const packedBytes = 256 * 1024;
const readFile = promisify((fd: number, buffer: Buffer, done: (err: Error | null, length: number) => void) =>
  read(fd, buffer, 0, buffer.length, null, done),
);

/**
 * Applies a layer. Data loss when the blob is not what its digest says, invalid argument when it is and is malformed,
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
  using blob = new Blob(sys, request.blobPath, digest);
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
    if (!isCode(err, 'resource exhausted')) await blob.verifyRest(request.size, err);
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

async function unpack(blob: Blob, { source: given, processed, packing }: Packed, layer: LayerTar): Promise<DiffResult> {
  const parser = new TarParser(layer);
  const [start, source] = await peek(given);
  const compression: LayerCompression = packing === 'plain' ? 'none' : detectCompression(start);
  // Bytes that are not packed are used up at once, and the blob's own hash is theirs.
  blob.lends = compression === 'none' && !processed;
  const ownHash = blob.lends && blob.algorithm === 'sha256' ? undefined : createHash('sha256');
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

/**
 * A blob being read, with the hash of what was read so far. Its pages leave the cache behind the reader: nobody unpacks a
 * layer twice, and what is unpacked needs the room.
 */
class Blob implements Disposable {
  /** Whether the next piece may take the place of the last one. */
  lends = false;
  readonly #sys: FileCalls;
  readonly #digest: Digest;
  readonly #hash: ReturnType<typeof hasherFor>;
  readonly #fd: number;
  #buffer: Buffer | undefined;
  #read = 0n;
  #readable = true;
  #turn: Promise<unknown> = Promise.resolve();

  /** Throws what open(2) says. */
  constructor(sys: FileCalls, path: string, digest: Digest) {
    this.#sys = sys;
    this.#digest = digest;
    this.#hash = hasherFor(digest);
    this.#fd = openSync(path, 'r');
  }

  get algorithm(): string {
    return digestAlgorithm(this.#digest);
  }

  /** The digest of what was read so far, by the algorithm of the expected one. */
  found(): Digest {
    return finishDigest(this.#hash.copy(), this.algorithm);
  }

  /**
   * The bytes from where the last reader stopped. Not ended by its consumer: `verifyRest` goes on, beside what an unpacker that
   * gave up has still asked for.
   */
  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = this.#turn.then(async () => this.#piece());
      this.#turn = piece.catch(() => undefined);
      const bytes = await piece;
      if (bytes.length === 0) return;
      yield bytes;
    }
  }

  /** The next bytes, hashed; none at the end. */
  async #piece(): Promise<Uint8Array> {
    const buffer = this.#next();
    const length = await readFile(this.#fd, buffer).catch((err: unknown) => {
      this.#readable = false;
      throw err;
    });
    const bytes = buffer.subarray(0, length);
    if (length === 0) return bytes;
    this.#hash.update(bytes);
    this.#sys.fadvise(this.#fd, 0n, this.#read, POSIX_FADV_DONTNEED);
    this.#read += BigInt(length);
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#sys.fadvise(this.#fd, 0n, 0n, POSIX_FADV_DONTNEED);
    closeSync(this.#fd);
  }

  #next(): Buffer {
    if (!this.lends) return Buffer.allocUnsafeSlow(packedBytes);
    this.#buffer ??= Buffer.allocUnsafeSlow(readBytes);
    return this.#buffer;
  }

  /** After the last byte: throws data loss when it was another blob. */
  verify(size: bigint | undefined, cause?: unknown): void {
    if (size !== undefined && size !== 0n && size !== this.#read) {
      throw dataLoss(`blob ${this.#digest} has ${this.#read} bytes, expected ${size}`, {}, cause);
    }
    const found = this.found();
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
