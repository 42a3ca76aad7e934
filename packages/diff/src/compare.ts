/** One compare, inside a worker: the difference of two trees as a layer. */
import { createHash } from 'node:crypto';
import { compress } from '@gantry/archive';
import { notImplemented } from '@gantry/errors';
import { AT_SYMLINK_NOFOLLOW } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { finishDigest, layerMediaType, mediaTypes } from '@gantry/oci';
import type { LayerCompression } from '@gantry/oci';
import { ChangeTar } from './change-tar.ts';
import type { CompareRequest, CompareResult } from './differ-types.ts';
import { joinPath } from './entry-path.ts';
import { plainMounts } from './id-maps.ts';
import { mountPrivately, openTree, readOnlyMounts } from './mounts.ts';
import type { Opened } from './mounts.ts';
import { treeChanges } from './tree-changes.ts';

/** What is written: OCI's three forms of a layer. */
const writable: readonly string[] = [mediaTypes.layer, mediaTypes.layerGzip, mediaTypes.layerZstd];

/**
 * Gives the blob's bytes to `deliver`, in order, and says what they are. Both trees are looked at read-only, in the
 * worker's own mount namespace. Not implemented for a media type that is not one of OCI's layer types.
 */
export async function compareTrees(
  sys: Syscalls,
  request: CompareRequest,
  deliver: (chunk: Uint8Array) => Promise<void>,
): Promise<CompareResult> {
  const mediaType = request.mediaType === '' ? mediaTypes.layerGzip : request.mediaType;
  if (!writable.includes(mediaType)) throw notImplemented(`writing a layer as ${JSON.stringify(mediaType)}`);
  const compression: LayerCompression = layerMediaType(mediaType)?.compression ?? 'none';
  using before = await plainMounts(sys, request.left);
  using after = await plainMounts(sys, request.right);
  using left = disposable(mountPrivately(sys, readOnlyMounts(before.mounts)));
  using right = disposable(mountPrivately(sys, readOnlyMounts(after.mounts)));
  const [diffId, digest] = [createHash('sha256'), createHash('sha256')];
  let size = 0n;
  async function* tar(): AsyncGenerator<Uint8Array> {
    for (const bytes of layerBytes(sys, left.value, right.value, request.sourceDateEpoch)) {
      diffId.update(bytes);
      yield bytes;
    }
  }
  for await (const bytes of compress(gathered(tar()), compression)) {
    digest.update(bytes);
    size += BigInt(bytes.length);
    await deliver(bytes);
  }
  return { mediaType, digest: finishDigest(digest), size, diffId: finishDigest(diffId) };
}

function* layerBytes(sys: Syscalls, left: string, right: string, epoch: bigint | undefined): Generator<Buffer> {
  const tree = openTree(sys, right);
  try {
    const layer = new ChangeTar(
      sys,
      (path) => sys.fstatat(tree.directory(path.slice(0, -1)), joinPath(path.slice(-1)), AT_SYMLINK_NOFOLLOW),
      epoch,
    );
    for (const change of treeChanges(sys, left, right)) yield* layer.change(change);
    yield layer.end();
  } finally {
    tree.close();
  }
}

/** Small pieces put together: headers are 512 bytes, messages and compressors like more. */
async function* gathered(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [];
  let length = 0;
  for await (const bytes of source) {
    pieces.push(bytes);
    length += bytes.length;
    if (length < gatheredBytes) continue;
    yield Buffer.concat(pieces);
    pieces = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(pieces);
}

const gatheredBytes = 128 * 1024;

function disposable<T>(opened: Opened<T>): Opened<T> & Disposable {
  return { ...opened, [Symbol.dispose]: () => opened.close() };
}
