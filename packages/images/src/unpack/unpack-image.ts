/**
 * Turns an image's layers into a chain of committed snapshots, each named by its chain id.
 *
 * Layers are applied in their order, each as soon as it is there: while one is unpacked the next are still downloaded.
 * A chain id that exists is not made again; of several who make one at the same time in this process one does the work.
 */
import { randomBytes } from 'node:crypto';
import { failedPrecondition, isCode, wrap } from '@gantry/errors';
import type { ContentStore } from '@gantry/content';
import type { Differ } from '@gantry/diff';
import { chainIds, checkLayerCount } from '@gantry/oci';
import type { Descriptor, Digest, ImageConfig, Manifest } from '@gantry/oci';
import type { SnapshotStore } from '@gantry/snapshots';
import { KeyedTurns } from '../keyed-turns.ts';

const targetLabel = 'containerd.io/snapshot.ref';
const uncompressedLabel = 'containerd.io/uncompressed';
const snapshotReference = 'containerd.io/gc.ref.snapshot';

export interface UnpackComponents {
  readonly content: Pick<ContentStore, 'blobPath' | 'update'>;
  readonly snapshots: Pick<SnapshotStore, 'commit' | 'prepare' | 'remove' | 'stat'>;
  readonly differ: Pick<Differ, 'apply'>;
  readonly namespace: string;
  readonly snapshotter: string;
  /** Holds the snapshots until the image's record exists. */
  readonly lease: string;
  /** Shared by all who unpack in this process. */
  readonly turns?: KeyedTurns;
}

/** What is unpacked. */
export interface UnpackableImage {
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly configDigest: string;
  /** Resolves when the layer is in the content store. Absent: all are. */
  layerStored?(index: number): Promise<void>;
}

export interface UnpackOptions {
  readonly signal?: AbortSignal | undefined;
  /** Before and after a layer is applied. Not called for layers that are there. Must not throw. */
  readonly onLayer?: ((layer: LayerProgress) => void) | undefined;
}

export interface LayerProgress {
  readonly layer: Descriptor;
  /** Counts from 0. */
  readonly index: number;
  readonly count: number;
  readonly state: 'unpacking' | 'unpacked';
}

interface Step {
  readonly layer: Descriptor;
  readonly index: number;
  readonly diffId: Digest;
  readonly chainId: string;
  readonly parent: string;
}

/**
 * Gives the chain id of the top layer, the parent for a container's snapshot ('' for an image without layers). The
 * config gets the label that keeps the snapshots as long as the image. Errors: invalid argument (layers and diff ids do
 * not match, malformed layer), failed precondition (wrong diff id), data loss, resource exhausted, cancelled.
 */
export async function unpackImage(
  components: UnpackComponents,
  image: UnpackableImage,
  options: UnpackOptions = {},
): Promise<string> {
  const { manifest, config, configDigest } = image;
  checkLayerCount(manifest, config);
  const { content, namespace, snapshotter, turns = new KeyedTurns() } = components;
  const diffIds = config.rootfs.diff_ids;
  const chain = chainIds(diffIds);
  const top = chain.at(-1);
  if (top === undefined) return '';
  for (const [index, layer] of manifest.layers.entries()) {
    const diffId = diffIds[index];
    const chainId = chain[index];
    if (diffId === undefined || chainId === undefined) break;
    const step: Step = { layer, index, diffId, chainId, parent: chain[index - 1] ?? '' };
    // What is there need not be waited for; whether it still is, is seen when the lease takes hold of it.
    if (!isCommitted(components, chainId)) await image.layerStored?.(index);
    await turns.run(
      `${namespace}/${snapshotter}/${chainId}`,
      async () => unpackLayer(components, step, image, options),
      options.signal,
    );
  }
  const label = `${snapshotReference}.${snapshotter}`;
  await content.update(namespace, { digest: configDigest, labels: { [label]: top } }, [`labels.${label}`]);
  return top;
}

async function unpackLayer(
  components: UnpackComponents,
  step: Step,
  image: UnpackableImage,
  { signal, onLayer }: UnpackOptions,
): Promise<void> {
  const { snapshots, content, differ, namespace, snapshotter, lease } = components;
  const { layer, index, chainId, diffId, parent } = step;
  const about = { layer, index, count: image.manifest.layers.length };
  const key = `extract-${process.hrtime.bigint()}-${randomBytes(3).toString('base64url')} ${chainId}`;
  const labels = { [targetLabel]: chainId };
  let mounts;
  try {
    mounts = await snapshots.prepare(namespace, snapshotter, { key, parent, labels, lease });
  } catch (err) {
    if (isCode(err, 'already exists') && isCommitted(components, chainId)) return;
    throw err;
  }
  try {
    await image.layerStored?.(index);
    onLayer?.({ ...about, state: 'unpacking' });
    const { mediaType, digest, size } = layer;
    const blobPath = content.blobPath(namespace, digest);
    const applied = await differ.apply(
      { blobPath, mediaType, digest, size: BigInt(size), mounts },
      signal === undefined ? {} : { signal },
    );
    if (applied.digest !== diffId) {
      throw failedPrecondition(
        `wrong diff id calculated on extraction: layer ${digest} is "${applied.digest}", the config says "${diffId}"`,
      );
    }
    await snapshots.commit(namespace, snapshotter, { name: chainId, key, labels, lease });
  } catch (err) {
    await discard(components, key);
    if (!isCode(err, 'already exists'))
      throw wrap(err, `unpacking layer ${index + 1} of ${image.manifest.layers.length}`);
  }
  const update = { digest: layer.digest, labels: { [uncompressedLabel]: diffId } };
  await content.update(namespace, update, [`labels.${uncompressedLabel}`]);
  onLayer?.({ ...about, state: 'unpacked' });
}

function isCommitted({ snapshots, namespace, snapshotter }: UnpackComponents, name: string): boolean {
  try {
    return snapshots.stat(namespace, snapshotter, name).kind === 'committed';
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}

/** A half-made tree serves nobody; when it cannot be removed now, the lease's end does it. */
async function discard({ snapshots, namespace, snapshotter, lease }: UnpackComponents, key: string): Promise<void> {
  try {
    await snapshots.remove(namespace, snapshotter, key, lease);
  } catch {
    // The error that matters is the one that led here.
  }
}
