/**
 * Pushing an image: children before what refers to them, the tag last, so that a registry never has a tag on something
 * incomplete. What is there already is not sent; blobs that a sibling repository has are mounted.
 */
import { failedPrecondition, failpoint, invalidArgument, notFound } from '@gantry/errors';
import {
  formatPlatform,
  isIndexType,
  isManifestType,
  layerMediaType,
  maximumIndexDepth,
  parseIndex,
  parseManifest,
  parseReference,
} from '@gantry/oci';
import type { Descriptor, Manifest, Platform } from '@gantry/oci';
import type { ImageContent } from '../image-content.ts';
import { Limiter } from '../limiter.ts';
import { readStored } from '../pull/documents.ts';
import { chooseManifest } from '../pull/choose-platform.ts';
import { sourcesIn, withSource } from '../pull/labels.ts';
import { ProgressReporter } from '../pull/progress.ts';
import type { ContentKind, OnProgress } from '../pull/progress.ts';
import { configLimitBytes, manifestLimitBytes } from '../registry/limits.ts';
import type { Pusher, Resolver } from '../registry/registry.ts';

/** Blobs of one push that go out at the same time, when nobody says otherwise. */
export const defaultConcurrentPushes = 3;

export interface PushComponents {
  readonly resolver: Pick<Resolver, 'pusher'>;
  readonly content: ImageContent;
  readonly blobSlots?: Limiter;
}

export interface PushImageOptions {
  /** Pushes only the image of this platform, under the name of the index. */
  readonly platform?: Platform;
  /** Sends blobs in pieces of this size; absent: each in one request. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * `name` is a full reference with a tag or a digest. Gives the descriptor that the name now stands for. Errors: not found
 * (content is missing here), unauthenticated, permission denied, data loss, unavailable, cancelled.
 */
export async function pushImage(
  components: PushComponents,
  name: string,
  target: Descriptor,
  options: PushImageOptions = {},
): Promise<Descriptor> {
  const { domain, tag, digest } = parseReference(name);
  const failed = new AbortController();
  const signal = AbortSignal.any([failed.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const pusher = await components.resolver.pusher(name);
  const push = new Push(components, pusher, { ...options, signal }, { domain, path: parseReference(name).path });
  const chosen = options.platform === undefined ? target : await push.choose(target, options.platform, 0);
  if (tag === undefined && digest !== undefined && digest !== chosen.digest) {
    throw invalidArgument(`cannot push ${chosen.digest} as ${name}`);
  }
  await push.manifest(chosen, tag, [], failed);
  return chosen;
}

class Push {
  readonly #content: ImageContent;
  readonly #pusher: Pusher;
  readonly #options: PushImageOptions & { readonly signal: AbortSignal };
  readonly #place: { readonly domain: string; readonly path: string };
  readonly #slots: Limiter;
  readonly #blobs = new Map<string, Promise<void>>();
  /** Digests of manifests and indexes. */
  readonly #pushed = new Set<string>();

  constructor(
    { content, blobSlots }: PushComponents,
    pusher: Pusher,
    options: PushImageOptions & { readonly signal: AbortSignal },
    place: { readonly domain: string; readonly path: string },
  ) {
    this.#content = content;
    this.#pusher = pusher;
    this.#options = options;
    this.#place = place;
    this.#slots = blobSlots ?? new Limiter(defaultConcurrentPushes);
  }

  async choose(target: Descriptor, platform: Platform, depth: number): Promise<Descriptor> {
    if (!isIndexType(target.mediaType)) return target;
    checkDepth(target, depth);
    const index = parseIndex(await readStored(this.#content, target, manifestLimitBytes), target.mediaType);
    const chosen = await chooseManifest(index, platform, target.digest, async (entry, kind) =>
      readStored(this.#content, entry, kind === 'config' ? configLimitBytes : manifestLimitBytes),
    );
    return this.choose(chosen, platform, depth + 1);
  }

  /** With everything below it. */
  async manifest(
    descriptor: Descriptor,
    tag: string | undefined,
    parents: readonly Descriptor[],
    failed: AbortController,
  ): Promise<void> {
    const { digest, mediaType } = descriptor;
    const { signal } = this.#options;
    // An index may name one several times, and what names it too.
    if (tag === undefined && this.#pushed.has(digest)) return;
    if (this.#content.info(digest) === undefined) {
      if (tag === undefined && (await this.#pusher.hasManifest(descriptor.digest, signal))) return;
      const platform = descriptor.platform === undefined ? '' : ` for platform ${formatPlatform(descriptor.platform)}`;
      throw notFound(
        `manifest ${digest}${platform} is not stored here: pull all platforms before, or push one of them`,
      );
    }
    const kind = isIndexType(mediaType) ? 'index' : 'manifest';
    const progress = new ProgressReporter(this.#options.onProgress, kind, descriptor, parents);
    progress.state('waiting');
    const above = [descriptor, ...parents];
    const bytes = await readStored(this.#content, descriptor, manifestLimitBytes);
    if (isIndexType(mediaType)) {
      checkDepth(descriptor, parents.length);
      for (const child of parseIndex(bytes, mediaType).manifests) await this.manifest(child, undefined, above, failed);
    } else if (isManifestType(mediaType)) {
      await this.#blobsOf(parseManifest(bytes, mediaType), above, failed);
      await failpoint('push.after-blobs');
    } else {
      throw invalidArgument(`${digest} is no image but ${JSON.stringify(mediaType.slice(0, 200))}`);
    }
    const outcome = await this.#pusher.pushManifest(descriptor, bytes, { signal, tag });
    this.#pushed.add(digest);
    await this.#noteSource(descriptor);
    progress.state(outcome === 'pushed' ? 'done' : outcome);
  }

  /** The first failure ends the others, and all have ended when this does. */
  async #blobsOf({ config, layers }: Manifest, parents: readonly Descriptor[], failed: AbortController): Promise<void> {
    let first: { readonly err: unknown } | undefined;
    const tasks = [config, ...layers].map(async (blob, index) => {
      try {
        await this.#blob(blob, index === 0 ? 'config' : 'layer', parents);
      } catch (err) {
        first ??= { err };
        failed.abort();
      }
    });
    await Promise.all(tasks);
    if (first !== undefined) throw first.err;
  }

  #blob(descriptor: Descriptor, kind: ContentKind, parents: readonly Descriptor[]): Promise<void> {
    const known = this.#blobs.get(descriptor.digest);
    if (known !== undefined) return known;
    const pushed = this.#slots.run(async () => this.#pushBlob(descriptor, kind, parents), this.#options.signal);
    this.#blobs.set(descriptor.digest, pushed);
    return pushed;
  }

  async #pushBlob(descriptor: Descriptor, kind: ContentKind, parents: readonly Descriptor[]): Promise<void> {
    const { digest, mediaType, size } = descriptor;
    const progress = new ProgressReporter(this.#options.onProgress, kind, descriptor, parents);
    progress.state('waiting');
    if (layerMediaType(mediaType)?.distributable === false) return progress.state('skipped');
    const info = this.#content.info(digest);
    if (info === undefined) throw notFound(`${kind} ${digest} is not stored here`);
    if (info.size !== BigInt(size)) {
      throw failedPrecondition(`${kind} ${digest} has ${info.size} bytes, its manifest says ${size}`);
    }
    const outcome = await this.#pusher.pushBlob(
      descriptor,
      { read: (offset) => this.#content.read(digest, BigInt(offset)) },
      {
        signal: this.#options.signal,
        mountFrom: sourcesIn(info.labels, this.#place.domain),
        chunkBytes: this.#options.chunkBytes,
        onProgress: (sent) => progress.moved(sent),
      },
    );
    await this.#noteSource(descriptor);
    return progress.state(outcome === 'pushed' ? 'done' : outcome);
  }

  /** The repository now has it too: the next push to a sibling can mount it from there. */
  async #noteSource({ digest }: Descriptor): Promise<void> {
    const { domain, path } = this.#place;
    const labels = this.#content.info(digest)?.labels;
    if (labels === undefined || sourcesIn(labels, domain).includes(path)) return;
    await this.#content.addLabels(digest, withSource(labels, domain, path));
  }
}

function checkDepth({ digest }: Descriptor, depth: number): void {
  if (depth >= maximumIndexDepth)
    throw invalidArgument(`index ${digest} is more than ${maximumIndexDepth} levels deep`);
}
