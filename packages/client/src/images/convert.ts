/**
 * An image in another form: its layers packed in another way, its documents in OCI's or in Docker's words. The files and the
 * configs stay the same, and so does the image's id.
 *
 * Of an index the wanted platforms are converted, as deep as indexes are nested; entries that are no images (attestations) come
 * along when everything does. What is in the wanted form already keeps its digest. A layer that was converted before, also by an
 * attempt that broke off, is not converted again: its blob says what it was made of.
 */
import { randomUUID } from 'node:crypto';
import type { images } from '@gantry/api';
import { GantryError, invalidArgument, isCode, notFound, wrap } from '@gantry/errors';
import {
  digestOf,
  formatPlatform,
  hostPlatform,
  isConfigType,
  isIndexType,
  isManifestType,
  matchPlatform,
  maximumIndexDepth,
  mediaTypeIn,
  normalizeReference,
  parseDigest,
  parseImageConfig,
  parseIndex,
  parseManifest,
} from '@gantry/oci';
import type { Descriptor, Index, LayerCompression, Manifest, MediaTypeFamily, Platform } from '@gantry/oci';
import type { Client } from '../client.ts';
import { ImageStoreClient } from '../services/images.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { LayerConversion } from './convert-layers.ts';
import type { PlatformOptions } from './images.ts';
import { documentLimitBytes, resolveImage } from './resolve.ts';

export interface ConvertOptions extends PlatformOptions {
  /** How its layers are to be packed; `keep`, or absent: as they are. */
  readonly compression?: LayerCompression | 'keep' | undefined;
  /** Whose words its documents are in; OCI's by default. Docker's have no attestations and no annotations. */
  readonly mediaTypes?: MediaTypeFamily | undefined;
  /**
   * What of an index is taken, the result being an index. Absent: the image for `platform`, the result being that alone.
   */
  readonly platforms?: readonly Platform[] | 'all' | undefined;
  /** Called before a layer is packed; `index` counts from 0 within its image. */
  readonly onLayer?:
    | ((layer: { readonly digest: string; readonly index: number; readonly count: number }) => void)
    | undefined;
}

/** What an attestation is about. */
const referenceDigest = 'vnd.docker.reference.digest';
const referenceType = 'vnd.docker.reference.type';

/**
 * Converts the image and gives it the name, moving a name that exists. What is unpacked is checked against the config. Throws not
 * found (image, platform, a blob that is not here), invalid argument (name, broken layer), data loss (a layer that is not what the
 * config says).
 */
export async function convertImage(
  client: Client,
  source: string,
  name: string,
  options: ConvertOptions,
): Promise<images.Image> {
  const full = normalizeReference(name);
  const { platform, platforms } = options;
  const call: CallOptions = { namespace: options.namespace, signal: options.signal, timeoutMs: options.timeoutMs };
  await using lease = await client.leases.with({ namespace: options.namespace });
  const leased = { ...call, lease: lease.id };
  const image = await client.images.get(source, leased);
  const conversion = await Conversion.begin(client, options, leased);
  if (platforms === undefined) {
    const { manifestDigest, manifest } = await client.images.resolve(image, { ...leased, platform });
    const { size } = await client.content.info(manifestDigest, leased);
    const mediaType = manifest.mediaType ?? (isConfigType(manifest.config.mediaType) ? mediaTypeOf(manifest) : '');
    const digest = parseDigest(manifestDigest);
    const target = await conversion.manifest({ mediaType, digest, size: Number(size) });
    return await client.images.put(full, target, { ...leased, platform });
  }
  const { target } = image;
  if (target === undefined) throw notFound(`target of image ${JSON.stringify(image.name)}`);
  const { mediaType, digest, size } = target;
  const made = await conversion.any({ mediaType, digest: parseDigest(digest), size: Number(size) }, 0);
  if (await hasHostImage(client, made, leased)) return await client.images.put(full, made, leased);
  const record = { name: full, target: { ...bare(made), size: BigInt(made.size) }, labels: image.labels };
  return await new ImageStoreClient(client.transport).put(record, leased);
}

function mediaTypeOf({ config }: Manifest): string {
  return mediaTypeIn(
    config.mediaType.includes('docker') ? 'docker' : 'oci',
    'application/vnd.oci.image.manifest.v1+json',
  );
}

/** Whether this host can run any of it: then it is unpacked before it is named. */
async function hasHostImage(client: Client, target: Descriptor, leased: CallOptions): Promise<boolean> {
  try {
    await resolveImage(client.content, target, hostPlatform(), leased);
    return true;
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}

class Conversion {
  readonly #client: Client;
  readonly #leased: CallOptions & { readonly lease: string };
  readonly #layers: LayerConversion;
  readonly #family: MediaTypeFamily;
  readonly #wanted: readonly Platform[] | 'all';
  readonly #onLayer: ConvertOptions['onLayer'];
  /** What descriptors became. */
  readonly #made = new Map<string, Promise<Descriptor>>();

  private constructor(
    client: Client,
    { mediaTypes = 'oci', platforms = 'all', onLayer }: ConvertOptions,
    leased: CallOptions & { readonly lease: string },
    layers: LayerConversion,
  ) {
    this.#client = client;
    this.#leased = leased;
    this.#layers = layers;
    this.#family = mediaTypes;
    this.#wanted = platforms;
    this.#onLayer = onLayer;
  }

  static async begin(
    client: Client,
    options: ConvertOptions,
    leased: CallOptions & { readonly lease: string },
  ): Promise<Conversion> {
    const { compression = 'keep', mediaTypes: family = 'oci' } = options;
    return new Conversion(
      client,
      options,
      leased,
      await LayerConversion.begin(client, { compression, family }, leased),
    );
  }

  /** An index or a manifest; anything else is kept as it is. */
  any(descriptor: Descriptor, depth: number): Promise<Descriptor> {
    // An index may name one entry many times, and what names it too.
    const key = JSON.stringify(descriptor);
    const made = this.#made.get(key) ?? this.#anyAnew(descriptor, depth);
    this.#made.set(key, made);
    return made;
  }

  async #anyAnew(descriptor: Descriptor, depth: number): Promise<Descriptor> {
    if (isIndexType(descriptor.mediaType)) return this.index(descriptor, depth);
    if (isManifestType(descriptor.mediaType)) return this.manifest(descriptor);
    return descriptor;
  }

  /** Throws not found when nothing of it is for a wanted platform. */
  async index(descriptor: Descriptor, depth: number): Promise<Descriptor> {
    if (depth >= maximumIndexDepth) throw invalidArgument(`more than ${maximumIndexDepth} levels of indexes`);
    const index = parseIndex(await this.#read(descriptor), descriptor.mediaType);
    const renamed = new Map<string, string>();
    const converted: Descriptor[] = [];
    for (const entry of index.manifests) {
      if (!this.#isWanted(entry)) continue;
      try {
        const made = await this.any(entry, depth + 1);
        renamed.set(entry.digest, made.digest);
        converted.push(made);
      } catch (err) {
        // Of a nested index perhaps nothing is wanted.
        if (isIndexType(entry.mediaType) && isCode(err, 'not found') && isEmptyIndex(err)) continue;
        throw entry.platform === undefined ? err : wrap(err, `image for ${formatPlatform(entry.platform)}`);
      }
    }
    if (converted.length === 0) {
      throw new GantryError('not found', `${this.#wantedText()} in index ${descriptor.digest}`, {
        details: { emptyIndex: true },
      });
    }
    // An attestation speaks of the image that now has another digest.
    const manifests = converted.map((entry) => this.#inFamily(about(entry, renamed)));
    if (same(manifests, index.manifests) && this.#type(descriptor.mediaType) === descriptor.mediaType)
      return descriptor;
    const { annotations, subject, artifactType, ...rest } = index;
    const kept = this.#family === 'docker' ? {} : { ...optional({ artifactType, subject, annotations }) };
    const mediaType = this.#type(descriptor.mediaType);
    const labels = manifests.map(({ digest }, at) => [`containerd.io/gc.ref.content.m.${at}`, digest]);
    return this.#write(descriptor, { ...rest, mediaType, manifests, ...kept }, Object.fromEntries(labels));
  }

  async manifest(descriptor: Descriptor): Promise<Descriptor> {
    const manifest = parseManifest(await this.#read(descriptor), descriptor.mediaType);
    const layers = await this.#layersOf(manifest);
    const config = this.#inFamily({ ...manifest.config, mediaType: this.#type(manifest.config.mediaType) });
    const mediaType = this.#type(descriptor.mediaType);
    if (same([config, ...layers], [manifest.config, ...manifest.layers]) && mediaType === descriptor.mediaType) {
      return descriptor;
    }
    const { annotations, subject, artifactType, ...rest } = manifest;
    const kept = this.#family === 'docker' ? {} : { ...optional({ artifactType, subject, annotations }) };
    const labels = {
      'containerd.io/gc.ref.content.config': config.digest,
      ...Object.fromEntries(layers.map(({ digest }, at) => [`containerd.io/gc.ref.content.l.${at}`, digest])),
    };
    return this.#write(descriptor, { ...rest, mediaType, config, layers, ...kept }, labels);
  }

  /** Some at a time; the first failure ends the others. */
  async #layersOf({ config, layers }: Manifest): Promise<Descriptor[]> {
    const diffIds = isConfigType(config.mediaType)
      ? parseImageConfig(await this.#read(config)).rootfs.diff_ids
      : ([] as readonly string[]);
    const isImage = layers.length === diffIds.length;
    const count = layers.length;
    return this.#layers.all(layers, (layer, index) => {
      this.#onLayer?.({ digest: layer.digest, index, count });
      if (!isImage) throw invalidArgument(`image has ${count} layers but ${diffIds.length} diff ids`);
      return diffIds[index] ?? '';
    });
  }

  #isWanted(entry: Descriptor): boolean {
    // Docker's words have nothing for what is no image.
    if (this.#family === 'docker' && entry.annotations?.[referenceType] !== undefined) return false;
    if (this.#wanted === 'all' || entry.platform === undefined) return true;
    const { platform } = entry;
    return this.#wanted.some((wanted) => matchPlatform(wanted, platform) === 0);
  }

  #wantedText(): string {
    return this.#wanted === 'all' ? 'an image' : `an image for ${this.#wanted.map(formatPlatform).join(' or ')}`;
  }

  #type(mediaType: string): string {
    return mediaTypeIn(this.#family, mediaType);
  }

  #inFamily(descriptor: Descriptor): Descriptor {
    if (this.#family === 'oci') return descriptor;
    const { annotations: _, artifactType: _type, ...rest } = descriptor;
    return rest;
  }

  #read({ digest }: Descriptor): Promise<Buffer> {
    return this.#client.content.readAll(digest, documentLimitBytes, this.#leased);
  }

  async #write(old: Descriptor, document: Index | Manifest, labels: Record<string, string>): Promise<Descriptor> {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    const { content } = this.#client;
    const expected = { expected: digest, sizeBytes: BigInt(bytes.length) };
    await content.write([bytes], { ...this.#leased, ref: `convert-${randomUUID()}`, ...expected });
    await content.setLabels(digest, labels, this.#leased);
    const mediaType = document.mediaType ?? old.mediaType;
    return this.#inFamily({ ...old, mediaType, digest, size: bytes.length });
  }
}

function isEmptyIndex(err: unknown): boolean {
  return err instanceof GantryError && err.details['emptyIndex'] === true;
}

function about(entry: Descriptor, renamed: ReadonlyMap<string, string>): Descriptor {
  const digest = renamed.get(entry.annotations?.[referenceDigest] ?? '');
  if (digest === undefined) return entry;
  return { ...entry, annotations: { ...entry.annotations, [referenceDigest]: digest } };
}

/** What an image's record points to. */
function bare({ mediaType, digest, size }: Descriptor): Pick<Descriptor, 'mediaType' | 'digest' | 'size'> {
  return { mediaType, digest, size };
}

function same(a: readonly Descriptor[], b: readonly Descriptor[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Without the members that are undefined. */
function optional<T extends object>(members: T): Partial<{ [K in keyof T]: NonNullable<T[K]> }> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Partial<{
    [K in keyof T]: NonNullable<T[K]>;
  }>;
}
