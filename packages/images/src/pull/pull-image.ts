/**
 * Pulling an image: reference → manifest graph → content store.
 *
 *     resolve ─► index ─► manifest ─► config ──┐
 *                                 └─► layers ──┴─► manifest stored ─► index stored ─► the image's target
 *
 * Children are stored before what refers to them: a manifest that is in the store is complete, whatever a crash left.
 * Everything is verified against its descriptor while it comes. The caller's lease holds it all until he has made the
 * image's record; nothing here makes or changes records of images.
 */
import { invalidArgument, notImplemented } from '@gantry/errors';
import {
  hostPlatform,
  isIndexType,
  isManifestType,
  maximumIndexDepth,
  mediaTypes,
  parseImageConfig,
  parseIndex,
  parseManifest,
  parseReference,
} from '@gantry/oci';
import type { Descriptor, ImageConfig, Index, Manifest, Platform, Reference } from '@gantry/oci';
import type { Labels } from '@gantry/store';
import { defaultRetryPolicy } from '../http/retry.ts';
import type { RetryPolicy } from '../http/retry.ts';
import type { ImageContent } from '../image-content.ts';
import { KeyedTurns } from '../keyed-turns.ts';
import { Limiter } from '../limiter.ts';
import { configLimitBytes, manifestLimitBytes } from '../registry/limits.ts';
import type { Resolver } from '../registry/registry.ts';
import { checkPlatforms, chooseManifests, isImageConfig } from './choose-platform.ts';
import { downloadBlob } from './download.ts';
import type { DownloadComponents } from './download.ts';
import { readDocument, storeDocument } from './documents.ts';
import { indexReferences, manifestReferences, withSource } from './labels.ts';
import { ProgressReporter } from './progress.ts';
import type { ContentKind, OnProgress } from './progress.ts';

/** Layers of one pull that come at the same time, when nobody says otherwise. */
export const defaultConcurrentLayers = 3;

export interface PullComponents {
  readonly resolver: Resolver;
  readonly content: ImageContent;
  /** Shared by all pulls of the process: two that want the same blob fetch it once. */
  readonly turns?: KeyedTurns;
  /** Shared by the pulls that are to be limited together; a limit of `defaultConcurrentLayers` for this one otherwise. */
  readonly layerSlots?: Limiter;
  readonly retry?: Partial<RetryPolicy>;
}

/** An image whose layers may still be on their way. */
export interface ArrivingImage {
  /** Of its manifest. */
  readonly descriptor: Descriptor;
  /** The manifest and what refers to it, the image's target last. */
  readonly parents: readonly Descriptor[];
  readonly manifest: Manifest;
  readonly configDigest: string;
  readonly config: ImageConfig;
  /** Resolves when the layer is in the store, rejects when it will not be. */
  layerStored(index: number): Promise<void>;
}

export interface PullOptions {
  /** What to take out of an index: the best for each of these (this host by default), or everything. */
  readonly platforms?: readonly Platform[] | 'all';
  /** Also manifests and configurations of everything else in an index, without its layers. */
  readonly allMetadata?: boolean;
  /** At most so many entries of an index with their layers; 0 or absent: no limit. */
  readonly manifestLimit?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** Called once when it is known what the name stands for, before anything is fetched; the pull ends when it throws. */
  readonly onResolved?: (target: Descriptor) => void | Promise<void>;
  /** Called for each image once its config is known, while its layers come; the pull ends when it does. */
  readonly onImage?: (image: ArrivingImage, signal: AbortSignal) => Promise<void>;
}

/** One image of a pull. */
export interface PulledManifest {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
}

export interface PulledImage {
  /** The full reference. */
  readonly name: string;
  /** What the image's record is to point to. */
  readonly target: Descriptor;
  /** The images that were taken, in the order of the index. */
  readonly manifests: readonly PulledManifest[];
}

/**
 * `name` is a full reference. When it fails everything under way is ended first; what has come of a layer stays in its
 * ingest, and the next pull goes on from there. Errors: not found, unauthenticated, permission denied, resource exhausted
 * (too many requests, document too large, disk full), data loss (wrong content), unavailable, cancelled.
 */
export async function pullImage(
  components: PullComponents,
  name: string,
  options: PullOptions = {},
): Promise<PulledImage> {
  const { resolver } = components;
  const failed = new AbortController();
  const signal = AbortSignal.any([failed.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const resolved = await resolver.resolve(name, signal);
  await options.onResolved?.(resolved.descriptor);
  const fetcher = await resolver.fetcher(name);
  const pull = new Pull(components, { ...options, signal }, parseReference(resolved.name), {
    fetcher,
    content: components.content,
    retry: { ...defaultRetryPolicy, ...components.retry },
  });
  const manifests: PulledManifest[] = [];
  await pull.take({ descriptor: resolved.descriptor, parents: [], whole: true }, manifests, failed);
  return { ...resolved, target: resolved.descriptor, manifests };
}

/** A place in the graph. */
interface Place {
  readonly descriptor: Descriptor;
  /** What refers to it, the image's target last. */
  readonly parents: readonly Descriptor[];
  /** With its layers. */
  readonly whole: boolean;
}

class Pull {
  readonly #options: PullOptions & { readonly signal: AbortSignal };
  readonly #reference: Reference;
  readonly #download: DownloadComponents;
  readonly #turns: KeyedTurns;
  readonly #slots: Limiter;
  readonly #layers = new Map<string, Promise<void>>();
  /** Indexes and manifests by their digest, and whether with their layers. */
  readonly #taken = new Map<string, boolean>();

  constructor(
    { turns, layerSlots }: PullComponents,
    options: PullOptions & { readonly signal: AbortSignal },
    reference: Reference,
    download: DownloadComponents,
  ) {
    this.#options = options;
    this.#reference = reference;
    this.#download = download;
    this.#turns = turns ?? new KeyedTurns();
    this.#slots = layerSlots ?? new Limiter(defaultConcurrentLayers);
  }

  /** What an index names several times is taken once: an index of indexes of … would else be work without an end. */
  async take(place: Place, taken: PulledManifest[], failed: AbortController): Promise<void> {
    const { digest, mediaType } = place.descriptor;
    const before = this.#taken.get(digest);
    if (before === true || before === place.whole) return;
    this.#taken.set(digest, place.whole);
    if (isIndexType(mediaType)) return this.#takeIndex(place, taken, failed);
    if (isManifestType(mediaType)) return this.#takeManifest(place, taken, failed);
    if (mediaType === mediaTypes.dockerSchema1) {
      throw notImplemented(
        `${digest} is in Docker's image format schema 1: it has to be pushed again in a current format`,
      );
    }
    throw invalidArgument(`${digest} is no image but ${JSON.stringify(mediaType.slice(0, 200))}`);
  }

  async #takeIndex(place: Place, taken: PulledManifest[], failed: AbortController): Promise<void> {
    const { descriptor, parents } = place;
    if (parents.length >= maximumIndexDepth)
      throw invalidArgument(`index ${descriptor.digest} is more than ${maximumIndexDepth} levels deep`);
    const progress = this.#progress('index', descriptor, parents);
    const bytes = await this.#read(descriptor, manifestLimitBytes);
    const index = parseIndex(bytes, descriptor.mediaType);
    const chosen = await this.#choose(index, descriptor.digest);
    const { allMetadata = false } = this.#options;
    for (const entry of allMetadata ? index.manifests : chosen) {
      const whole = place.whole && chosen.includes(entry);
      await this.take({ descriptor: entry, parents: [descriptor, ...parents], whole }, taken, failed);
    }
    await this.#store({ descriptor, kind: 'index', bytes }, indexReferences(index.manifests), progress);
  }

  /** The entries to be taken with their layers. Throws not found when no platform is there. */
  async #choose(index: Index, digest: string): Promise<readonly Descriptor[]> {
    const { platforms = [hostPlatform()], manifestLimit = 0 } = this.#options;
    const chosen =
      platforms === 'all'
        ? index.manifests
        : await chooseManifests(index, platforms, digest, async (entry, kind) =>
            this.#read(entry, kind === 'config' ? configLimitBytes : manifestLimitBytes),
          );
    return manifestLimit > 0 ? chosen.slice(0, manifestLimit) : chosen;
  }

  async #takeManifest(place: Place, taken: PulledManifest[], failed: AbortController): Promise<void> {
    const { descriptor, parents, whole } = place;
    const { digest, mediaType } = descriptor;
    const progress = this.#progress('manifest', descriptor, parents);
    const bytes = await this.#read(descriptor, manifestLimitBytes);
    const manifest = parseManifest(bytes, mediaType);
    const above = [descriptor, ...parents];
    const config = await this.#takeConfig(manifest.config, above, failed);
    const { platforms = [hostPlatform()] } = this.#options;
    if (parents.length === 0 && config !== undefined && platforms !== 'all') checkPlatforms(platforms, config, digest);
    if (whole) await this.#takeLayers({ manifest, descriptor, parents: above }, config, failed);
    await this.#store(
      { descriptor, kind: 'manifest', bytes },
      manifestReferences(manifest.config, manifest.layers),
      progress,
    );
    if (whole) taken.push({ descriptor, manifest });
  }

  /** An artifact's config may be anything, of any size; it is not read. */
  async #takeConfig(
    descriptor: Descriptor,
    parents: readonly Descriptor[],
    failed: AbortController,
  ): Promise<ImageConfig | undefined> {
    if (!isImageConfig(descriptor)) {
      await this.#takeBlob('config', descriptor, parents, failed);
      return undefined;
    }
    const progress = this.#progress('config', descriptor, parents);
    const bytes = await this.#read(descriptor, configLimitBytes);
    const config = parseImageConfig(bytes);
    await this.#store({ descriptor, kind: 'config', bytes }, {}, progress);
    return config;
  }

  /** All layers and whoever waits for them; the first failure ends the others, and all have ended when this does. */
  async #takeLayers(
    { manifest, descriptor, parents }: PulledManifest & { readonly parents: readonly Descriptor[] },
    config: ImageConfig | undefined,
    failed: AbortController,
  ): Promise<void> {
    const { onImage, signal } = this.#options;
    let first: { readonly err: unknown } | undefined;
    const guard = async (task: Promise<void>): Promise<void> => {
      try {
        await task;
      } catch (err) {
        first ??= { err };
        failed.abort();
      }
    };
    const layers = manifest.layers.map(async (layer) => this.#takeBlob('layer', layer, parents, failed));
    const tasks = layers.map(guard);
    if (onImage !== undefined && config !== undefined) {
      const layerStored = async (index: number): Promise<void> => {
        if (layers[index] === undefined) throw invalidArgument(`the image has no layer ${index}`);
        await layers[index];
      };
      const image = { descriptor, parents, manifest, config, configDigest: manifest.config.digest, layerStored };
      tasks.push(guard(onImage(image, signal)));
    }
    await Promise.all(tasks);
    if (first !== undefined) throw first.err;
  }

  /** A blob that several manifests, or one several times, refer to is fetched once. */
  #takeBlob(
    kind: ContentKind,
    descriptor: Descriptor,
    parents: readonly Descriptor[],
    failed: AbortController,
  ): Promise<void> {
    const known = this.#layers.get(descriptor.digest);
    if (known !== undefined) return known;
    const progress = this.#progress(kind, descriptor, parents);
    const { signal } = this.#options;
    const { content } = this.#download;
    const taken = this.#slots.run(
      async () =>
        this.#turns.run(
          `${content.namespace}/${descriptor.digest}`,
          async () =>
            downloadBlob(this.#download, descriptor, { kind, labels: this.#source(descriptor), progress, signal }),
          signal,
        ),
      signal,
    );
    this.#layers.set(descriptor.digest, taken);
    taken.catch(() => failed.abort());
    return taken;
  }

  async #read(descriptor: Descriptor, limitBytes: number): Promise<Buffer> {
    return readDocument(this.#download, descriptor, { limitBytes, signal: this.#options.signal });
  }

  async #store(
    document: { readonly descriptor: Descriptor; readonly kind: ContentKind; readonly bytes: Buffer },
    labels: Labels,
    progress: ProgressReporter,
  ): Promise<void> {
    const { content } = this.#download;
    const { descriptor } = document;
    const { signal } = this.#options;
    await this.#turns.run(
      `${content.namespace}/${descriptor.digest}`,
      async () => storeDocument(content, document, { ...labels, ...this.#source(descriptor) }, progress, signal),
      signal,
    );
  }

  #source({ digest }: Descriptor): Labels {
    const { domain, path } = this.#reference;
    return withSource(this.#download.content.info(digest)?.labels ?? {}, domain, path);
  }

  #progress(kind: ContentKind, descriptor: Descriptor, parents: readonly Descriptor[]): ProgressReporter {
    const reporter = new ProgressReporter(this.#options.onProgress, kind, descriptor, parents);
    reporter.state('waiting');
    return reporter;
  }
}
