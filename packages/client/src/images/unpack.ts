/**
 * Turns an image's layers into a chain of committed snapshots.
 *
 * For each layer, bottom first: chain id present → next; otherwise Prepare `extract-<ns>-<rand> <chain id>` on the
 * chain below, Diff.Apply, compare the diff id with the config's, Commit under the chain id. Several clients may do
 * this at once: whoever commits second gets already exists and throws its own copy away.
 */
import { randomBytes } from 'node:crypto';
import type { types } from '@gantry/api';
import { chainIds, checkLayerCount } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { failedPrecondition, isCode } from '@gantry/errors';
import type { ContentCalls } from '../services/content.ts';
import type { SnapshotsClient } from '../services/snapshots.ts';
import type { CallOptions } from '../transport/call-options.ts';
import type { ResolvedImage } from './resolve.ts';

const snapshotRefLabel = 'containerd.io/snapshot.ref';
const uncompressedLabel = 'containerd.io/uncompressed';

/** The snapshots service as far as unpacking goes. */
export type UnpackSnapshots = Pick<SnapshotsClient, 'commit' | 'prepare' | 'remove' | 'snapshotter' | 'stat'>;

/** Applies a layer on mounts and returns the descriptor of its uncompressed tar. */
export type ApplyLayer = (
  layer: types.Descriptor,
  mounts: readonly types.Mount[],
  options: CallOptions,
) => Promise<{ readonly digest: string }>;

export interface UnpackComponents {
  readonly apply: ApplyLayer;
  readonly content: ContentCalls;
  readonly snapshots: UnpackSnapshots;
}

/** Called before each layer that has to be extracted; `index` counts from 0. */
export type UnpackProgress = (layer: {
  readonly digest: string;
  readonly index: number;
  readonly count: number;
}) => void;

/**
 * Returns the chain id of the top layer: the parent for a container's snapshot. Labels the config so that the
 * snapshots live as long as the image. Call it with a lease in `options`.
 */
export async function unpackImage(
  components: UnpackComponents,
  image: ResolvedImage,
  options: CallOptions & { readonly onLayer?: UnpackProgress | undefined } = {},
): Promise<string> {
  const { layers } = image.manifest;
  const diffIds = image.config.rootfs.diff_ids;
  checkLayerCount(image.manifest, image.config);
  const chain = chainIds(diffIds);
  const top = chain.at(-1);
  if (top === undefined) return '';
  const { snapshots, content } = components;
  if (!(await exists(snapshots, top, options))) {
    for (const [index, layer] of layers.entries()) {
      const chainId = chain[index] ?? '';
      const diffId = diffIds[index] ?? '';
      if (await exists(snapshots, chainId, options)) continue;
      options.onLayer?.({ digest: layer.digest, index, count: layers.length });
      await unpackLayer(components, { layer, diffId, chainId, parent: chain[index - 1] ?? '' }, options);
    }
  }
  await content.setLabels(
    image.configDigest,
    { [`containerd.io/gc.ref.snapshot.${snapshots.snapshotter}`]: top },
    options,
  );
  return top;
}

interface LayerStep {
  readonly layer: Descriptor;
  readonly diffId: string;
  readonly chainId: string;
  readonly parent: string;
}

async function unpackLayer(components: UnpackComponents, step: LayerStep, options: CallOptions): Promise<void> {
  const { snapshots, content, apply } = components;
  const key = `extract-${process.hrtime.bigint()}-${randomBytes(3).toString('base64url')} ${step.chainId}`;
  const labels = { [snapshotRefLabel]: step.chainId };
  let mounts;
  try {
    mounts = await snapshots.prepare(key, step.parent, { ...options, labels });
  } catch (err) {
    // A snapshotter that has the layer already (or a peer that was faster) says so here.
    if (isCode(err, 'already exists') && (await exists(snapshots, step.chainId, options))) return;
    throw err;
  }
  try {
    const { mediaType, digest, size } = step.layer;
    const descriptor = { mediaType, digest, size: BigInt(size), annotations: {} };
    const applied = await apply(descriptor, mounts, options);
    if (applied.digest !== step.diffId) {
      throw failedPrecondition(
        `wrong diff id calculated on extraction: layer ${digest} is "${applied.digest}", the config says "${step.diffId}"`,
      );
    }
    await snapshots.commit(step.chainId, key, { ...options, labels });
  } catch (err) {
    await discard(snapshots, key, options);
    if (!isCode(err, 'already exists')) throw err;
  }
  await content.setLabels(step.layer.digest, { [uncompressedLabel]: step.diffId }, options);
}

async function exists(snapshots: UnpackSnapshots, name: string, options: CallOptions): Promise<boolean> {
  try {
    await snapshots.stat(name, options);
    return true;
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}

/** Has its own deadline: the caller's may be what ended the extraction. */
async function discard(snapshots: UnpackSnapshots, key: string, options: CallOptions): Promise<void> {
  try {
    await snapshots.remove(key, { namespace: options.namespace, timeoutMs: 10_000 });
  } catch {
    // The lease's end or its expiry removes it.
  }
}
