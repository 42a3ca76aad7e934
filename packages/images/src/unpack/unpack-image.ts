/**
 * Turns an image's layers into a chain of committed snapshots, each named by its chain id.
 *
 * Each is applied as soon as it is there: while one is unpacked the next are still downloaded, and, where the snapshotter lets a
 * tree get its parent with the commit, others are unpacked too. Commits come in order. A layer that turns out to depend on those
 * below it (a directory that it does not bring) is applied again when they are there. A chain id that exists is not made again; of
 * several who make one at the same time in this process one does the work.
 *
 *     layer 1   ──apply──► commit ─┐
 *     layer 2   ──apply───────────►└─ commit ─┐          a step holds the turn of its chain id and waits for lower ones only,
 *     layer 3        ──apply─────────────────►└─ commit  so that no two unpackings wait for each other
 */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { cancelled, failedPrecondition, GantryError, isCode, wrap } from '@gantry/errors';
import type { ContentStore } from '@gantry/content';
import { needsLowerLayers } from '@gantry/diff';
import { chainIds, checkLayerCount } from '@gantry/oci';
import type { Descriptor, Digest, ImageConfig, Manifest } from '@gantry/oci';
import type { Mount, SnapshotStore } from '@gantry/snapshots';
import { KeyedTurns } from '../keyed-turns.ts';
import { Limiter } from '../limiter.ts';

const targetLabel = 'containerd.io/snapshot.ref';
const uncompressedLabel = 'containerd.io/uncompressed';
const snapshotReference = 'containerd.io/gc.ref.snapshot';

/** Makes trees of layers that are in the content store. */
export interface LayerApplier {
  /** Whether it tells, by failed precondition and the detail `needsLowerLayers`, that a layer depends on lower ones not there yet. */
  readonly detached: boolean;
  /** Has ready what the next layer will need. */
  warm(): void;
  /** The uncompressed layer. Not implemented for a media type that it does not know. */
  apply(origin: LayerOrigin, request: LayerRequest): Promise<{ readonly digest: string }>;
}

/** Whose layer it is. */
export interface LayerOrigin {
  readonly namespace: string;
  readonly lease: string | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface LayerRequest {
  readonly layer: {
    readonly mediaType: string;
    readonly digest: string;
    readonly size: bigint;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly mounts: readonly Mount[];
  readonly syncFs: boolean;
  readonly payloads: Readonly<Record<string, never>>;
}

export interface UnpackComponents {
  readonly content: Pick<ContentStore, 'update'>;
  readonly snapshots: Pick<SnapshotStore, 'canRebase' | 'commit' | 'prepare' | 'remove' | 'stat'>;
  readonly differ: LayerApplier;
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
  const { content, namespace, snapshotter } = components;
  const diffIds = config.rootfs.diff_ids;
  const chain = chainIds(diffIds);
  const top = chain.at(-1);
  if (top === undefined) return '';
  if (!isCommitted(components, top)) components.differ.warm(); // while its layers come
  await unpackSteps(components, image, stepsOf(manifest, diffIds, chain), options);
  const label = `${snapshotReference}.${snapshotter}`;
  await content.update(namespace, { digest: configDigest, labels: { [label]: top } }, [`labels.${label}`]);
  return top;
}

function stepsOf(manifest: Manifest, diffIds: readonly Digest[], chain: readonly string[]): Step[] {
  return manifest.layers.flatMap((layer, index): Step[] => {
    const diffId = diffIds[index];
    const chainId = chain[index];
    if (diffId === undefined || chainId === undefined) return [];
    return [{ layer, index, diffId, chainId, parent: chain[index - 1] ?? '' }];
  });
}

/**
 * Begins all steps and resolves when all have ended; throws the failure of the lowest one that failed. A failure ends the steps
 * above it; those below it go on: what they make need not be made again.
 */
async function unpackSteps(
  components: UnpackComponents,
  image: UnpackableImage,
  steps: readonly Step[],
  options: UnpackOptions,
): Promise<void> {
  const { namespace, snapshotter, turns = new KeyedTurns() } = components;
  const places = new Limiter(availableParallelism());
  const running: Promise<void>[] = [];
  let lower: Lower = { done: Promise.resolve(), failed: new AbortController() };
  for (const step of steps) {
    const below = lower;
    const failed = new AbortController();
    below.failed.signal.addEventListener('abort', () => failed.abort(), { once: true });
    const signals = [below.failed.signal, ...(options.signal === undefined ? [] : [options.signal])];
    const signal = AbortSignal.any(signals);
    const run = async (): Promise<void> => {
      // What is there need not be waited for; whether it still is, is seen when the lease takes hold of it.
      if (!isCommitted(components, step.chainId)) await stored(image, step.index, signal);
      const turn = `${namespace}/${snapshotter}/${step.chainId}`;
      const own: OwnStep = { ...step, lower: below.done, places };
      await turns.run(turn, async () => unpackLayer(components, own, image, { ...options, signal }), signal);
    };
    const done = run().catch((err: unknown) => {
      failed.abort();
      throw err;
    });
    lower = { done, failed };
    running.push(done);
  }
  for (const end of await Promise.allSettled(running)) if (end.status === 'rejected') throw end.reason;
}

/** The step below one: its end, and what ends all above it. */
interface Lower {
  readonly done: Promise<void>;
  readonly failed: AbortController;
}

interface OwnStep extends Step {
  readonly lower: Promise<void>;
  /** How many layers of an image are applied at a time. */
  readonly places: Limiter;
}

/** Waits for a layer's blob; no longer than `signal` lets it. */
async function stored(image: UnpackableImage, index: number, signal: AbortSignal): Promise<void> {
  const arrival = image.layerStored?.(index);
  if (arrival === undefined) return;
  let stop: (() => void) | undefined;
  const stopped = new Promise<never>((_resolve, reject) => {
    stop = () => reject(cancelled('unpacking'));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  stopped.catch(() => undefined);
  try {
    await Promise.race([arrival, stopped]);
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
    arrival.catch(() => undefined); // may fail after nobody waits for it any more
  }
}

/** Makes the snapshot of a layer, beside those below it when that is possible. */
async function unpackLayer(
  components: UnpackComponents,
  step: OwnStep,
  image: UnpackableImage,
  options: UnpackOptions,
): Promise<void> {
  const { differ, snapshots, snapshotter } = components;
  const detachable = differ.detached && snapshots.canRebase(snapshotter);
  if (step.parent !== '' && !isCommitted(components, step.parent) && detachable) {
    try {
      await applyLayer(components, { ...step, detached: true }, image, options);
      return;
    } catch (err) {
      if (!needsLower(err)) throw err;
    }
  }
  await step.lower;
  await applyLayer(components, { ...step, detached: false }, image, options);
}

function needsLower(err: unknown): boolean {
  return err instanceof GantryError && err.details[needsLowerLayers] === true;
}

async function applyLayer(
  components: UnpackComponents,
  step: OwnStep & { readonly detached: boolean },
  image: UnpackableImage,
  { signal, onLayer }: UnpackOptions,
): Promise<void> {
  const { snapshots, content, differ, namespace, snapshotter, lease } = components;
  const { layer, index, chainId, diffId, parent, detached } = step;
  const about = { layer, index, count: image.manifest.layers.length };
  const key = `extract-${process.hrtime.bigint()}-${randomBytes(3).toString('base64url')} ${chainId}`;
  const labels = { [targetLabel]: chainId };
  let mounts;
  try {
    mounts = await snapshots.prepare(namespace, snapshotter, {
      key,
      parent: detached ? '' : parent,
      labels,
      lease,
      detached,
    });
  } catch (err) {
    if (isCode(err, 'already exists') && isCommitted(components, chainId)) return;
    throw err;
  }
  try {
    await image.layerStored?.(index);
    const { mediaType, digest, size, annotations = {} } = layer;
    const blob = { mediaType, digest, size: BigInt(size), annotations };
    const applied = await step.places.run(async () => {
      onLayer?.({ ...about, state: 'unpacking' });
      const request = { layer: blob, mounts, syncFs: false, payloads: {} };
      return differ.apply({ namespace, lease, signal }, request);
    }, signal);
    if (applied.digest !== diffId) {
      throw failedPrecondition(
        `wrong diff id calculated on extraction: layer ${digest} is "${applied.digest}", the config says "${diffId}"`,
      );
    }
    await step.lower;
    await snapshots.commit(namespace, snapshotter, { name: chainId, key, parent, labels, lease });
  } catch (err) {
    await discard(components, key);
    if (needsLower(err)) throw err;
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
