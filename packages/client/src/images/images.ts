/** Images as a person thinks of them: by name, with what they need to run. */
import { readImageArchive, writeImageArchive } from '@gantry/archive/images';
import type { ArchivedImage, WriteArchiveOptions } from '@gantry/archive/images';
import { hostPlatform, normalizeReference, parseDigest } from '@gantry/oci';
import type { Descriptor, Platform } from '@gantry/oci';
import type { images } from '@gantry/api';
import { failedPrecondition, isCode, messageOf, notFound } from '@gantry/errors';
import type { ContentClient } from '../services/content.ts';
import { ImageStoreClient, targetOf } from '../services/images.ts';
import type { LeasesClient } from '../services/leases.ts';
import { applyDiff } from '../services/snapshots.ts';
import type { SnapshotsClient } from '../services/snapshots.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { pullImage, pushImage } from '../transfer/registry.ts';
import type { PullOptions, PushOptions } from '../transfer/registry.ts';
import type { Transport } from '../transport/transport.ts';
import { archiveContent } from './archive-content.ts';
import { importPrefix, nameOfEntry } from './names.ts';
import { documentLimitBytes, noMatch, resolveImage } from './resolve.ts';
import type { ResolvedImage } from './resolve.ts';
import { unpackImage } from './unpack.ts';
import type { ApplyLayer, UnpackProgress } from './unpack.ts';

/** What the images group is made of. */
export interface ImagesComponents {
  readonly transport: Transport;
  readonly content: ContentClient;
  readonly leases: LeasesClient;
  readonly snapshots: SnapshotsClient;
}

export interface PlatformOptions extends CallOptions {
  /** Default: this host's. */
  readonly platform?: Platform | undefined;
}

export interface UnpackOptions extends PlatformOptions {
  readonly snapshotter?: string | undefined;
  readonly onLayer?: UnpackProgress | undefined;
}

export interface ImportOptions extends UnpackOptions {
  /** Name for images whose archive gives only a tag, or nothing. Default `import-<date>`. */
  readonly prefix?: string | undefined;
  /** Default true: the images can be run at once, but for those that have nothing for this host when no platform is named. */
  readonly unpack?: boolean | undefined;
}

/** An image with the bytes of its config. */
export interface ImageDocuments extends ResolvedImage {
  readonly configBytes: Buffer;
}

export type ExportOptions = CallOptions & WriteArchiveOptions;

export class ImagesClient {
  private readonly components: ImagesComponents;
  private readonly store: ImageStoreClient;

  constructor(components: ImagesComponents) {
    this.components = components;
    this.store = new ImageStoreClient(components.transport);
  }

  /** Sorted by name. Filters such as `name~=busybox` are or-ed. */
  list(filters: readonly string[] = [], options: CallOptions = {}): Promise<images.Image[]> {
    return this.store.list(filters, options);
  }

  /**
   * By the name as stored, by a familiar one (`busybox` is docker.io/library/busybox:latest), or by an image id or the
   * beginning of one. Throws not found; failed precondition for a beginning that several ids have.
   */
  async get(name: string, options: CallOptions = {}): Promise<images.Image> {
    try {
      return await this.store.get(name, options);
    } catch (err) {
      const full = isCode(err, 'not found') ? fullName(name) : undefined;
      if (full === undefined || full === name) throw err;
    }
    try {
      return await this.store.get(fullName(name) ?? name, options);
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
      const [first] = await this.withId(name, options);
      if (first === undefined) throw notFound(`image "${name}"`, {}, err);
      return first;
    }
  }

  /** The images whose id, or the digest they point to, is this or begins with it (at least 4 digits). */
  async withId(text: string, options: CallOptions = {}): Promise<images.Image[]> {
    const [, digits = ''] = /^(?:sha256:)?([0-9a-f]{4,64})$/.exec(text) ?? [];
    if (digits === '') return [];
    const found = new Map<string, images.Image[]>();
    for (const image of await this.list([], options)) {
      const target = targetOf(image).digest;
      const id = await this.resolve(image, options).then(
        ({ configDigest }) => configDigest,
        () => target,
      );
      const matching = [id, target].find((digest) => digest.startsWith(`sha256:${digits}`));
      if (matching !== undefined) found.set(matching, [...(found.get(matching) ?? []), image]);
    }
    if (found.size > 1) throw failedPrecondition(`"${text}" is the beginning of ${found.size} image ids`);
    return [...found.values()].flat();
  }

  /** Removes a name, given as stored or familiar. With `sync` the content is gone when this resolves. */
  async remove(name: string, options: CallOptions & { readonly sync?: boolean } = {}): Promise<void> {
    const image = await this.get(name, options);
    await this.store.delete(image.name, options);
  }

  /** Gives an image a further name; an image of that name is replaced. */
  async tag(source: string, name: string, options: CallOptions = {}): Promise<images.Image> {
    const image = await this.get(source, options);
    return this.store.put({ name: normalizeReference(name), target: image.target, labels: image.labels }, options);
  }

  /** The manifest and config for a platform, read from the content store. */
  async resolve(image: images.Image | string, options: PlatformOptions = {}): Promise<ResolvedImage> {
    const record = typeof image === 'string' ? await this.get(image, options) : image;
    return this.resolveTarget(targetOf(record), options);
  }

  /** The config document alone. */
  async config(image: images.Image | string, options: PlatformOptions = {}): Promise<ResolvedImage['config']> {
    return (await this.resolve(image, options)).config;
  }

  /** Bytes of the image's blobs for the platform, compressed as they are stored. */
  async sizeBytes(image: images.Image | string, options: PlatformOptions = {}): Promise<number> {
    const { manifest } = await this.resolve(image, options);
    return [manifest.config, ...manifest.layers].reduce((sum, blob) => sum + blob.size, 0);
  }

  /** Makes the image's layers snapshots, unless they are; returns the chain id to use as a container's parent. */
  async unpack(image: images.Image | string, options: UnpackOptions = {}): Promise<string> {
    const resolved = await this.resolve(image, options);
    if (options.lease !== undefined) return this.unpackResolved(resolved, options);
    await using lease = await this.components.leases.with(options);
    return await this.unpackResolved(resolved, { ...options, lease: lease.id });
  }

  /**
   * Has the server pull an image, named in full or familiar, and unpack it unless told otherwise. Errors are the
   * registry's: not found, unauthenticated, resource exhausted (too many requests), data loss, unavailable. What has come
   * when it fails is not fetched again by the next one. Not implemented by containerd before 1.7.
   */
  async pull(reference: string, options: PullOptions = {}): Promise<images.Image> {
    return this.store.get(await pullImage(this.components.transport, reference, options), options);
  }

  /** Has the server push an image to its own name, or to another. Not implemented by containerd before 1.7. */
  async push(name: string, reference: string | undefined = undefined, options: PushOptions = {}): Promise<void> {
    const image = await this.get(name, options);
    const destination = reference === undefined ? image.name : normalizeReference(reference);
    await pushImage(this.components.transport, image.name, destination, options);
  }

  /**
   * Stores and (unless told otherwise) unpacks every image of an archive: an OCI layout or a `docker save` archive, as
   * tar or tar.gz. Returns the images made; an existing name is moved to the new image.
   */
  async import(source: AsyncIterable<Uint8Array>, options: ImportOptions = {}): Promise<images.Image[]> {
    const { components } = this;
    await using lease = await components.leases.with({ namespace: options.namespace });
    const leased = { ...options, lease: lease.id };
    const made: images.Image[] = [];
    const prefix = options.prefix ?? importPrefix();
    const archive = await readImageArchive(archiveContent(components.content, leased), source);
    for (const entry of archive.images) {
      // Unpacked before it is named: a name promises an image that runs.
      const resolved = (options.unpack ?? true) ? await this.runnable(entry, leased) : undefined;
      if (resolved !== undefined) await this.unpackResolved(resolved, leased);
      const { mediaType, digest, size } = entry;
      const target = { mediaType, digest, size: BigInt(size) };
      made.push(await this.store.put({ name: nameOfEntry(entry, prefix), target }, leased));
    }
    return made;
  }

  /** The documents as they are stored, for those who make new ones of them. */
  async documents(image: images.Image | string, options: PlatformOptions = {}): Promise<ImageDocuments> {
    const resolved = await this.resolve(image, options);
    const { content } = this.components;
    return { ...resolved, configBytes: await content.readAll(resolved.configDigest, documentLimitBytes, options) };
  }

  /** Makes the name stand for the target, whatever it stood for. Unpacks it before, into `snapshotter`. */
  async put(name: string, target: Descriptor, options: UnpackOptions = {}): Promise<images.Image> {
    await this.unpackResolved(await this.resolveTarget(target, options), options);
    const { mediaType, digest, size } = target;
    return this.store.put({ name, target: { mediaType, digest, size: BigInt(size) } }, options);
  }

  /**
   * The images as one archive that OCI tools and `docker load` read; the same images give the same bytes. Of an index the
   * images of `platforms` (this host's) are taken. Throws not found when something of them is not stored.
   */
  async *export(names: readonly string[], options: ExportOptions = {}): AsyncGenerator<Uint8Array, void, void> {
    const records = await Promise.all(names.map(async (name) => this.get(name, options)));
    const chosen = records.map((record): ArchivedImage => {
      const { mediaType, digest, size, annotations } = targetOf(record);
      return { name: record.name, target: { mediaType, digest: parseDigest(digest), size: Number(size), annotations } };
    });
    yield* writeImageArchive(archiveContent(this.components.content, options), chosen, options);
  }

  /** Undefined for an image that is for other hosts, unless a platform was asked for: there is nothing to unpack. */
  private async runnable(
    target: { readonly mediaType: string; readonly digest: string },
    options: PlatformOptions,
  ): Promise<ResolvedImage | undefined> {
    try {
      return await this.resolveTarget(target, options);
    } catch (err) {
      if (options.platform === undefined && isCode(err, 'not found') && messageOf(err).startsWith(noMatch))
        return undefined;
      throw err;
    }
  }

  private resolveTarget(
    target: { readonly mediaType: string; readonly digest: string },
    options: PlatformOptions,
  ): Promise<ResolvedImage> {
    return resolveImage(this.components.content, target, options.platform ?? hostPlatform(), options);
  }

  private unpackResolved(resolved: ResolvedImage, options: UnpackOptions): Promise<string> {
    const { transport, content, snapshots } = this.components;
    const chosen = options.snapshotter === undefined ? snapshots : snapshots.of(options.snapshotter);
    const apply: ApplyLayer = (layer, mounts, call) => applyDiff(transport, layer, mounts, call);
    return unpackImage({ apply, content, snapshots: chosen }, resolved, options);
  }
}

function fullName(name: string): string | undefined {
  try {
    return normalizeReference(name);
  } catch {
    return undefined;
  }
}
