/**
 * Writes images as one tar that is an OCI layout and, beside it, what `docker load` reads. The same images give the same
 * bytes: entries in the order of their paths, no times, no owners.
 *
 *     blobs/<algorithm>/<encoded>   every blob once
 *     index.json                    the images, with annotations that name them
 *     manifest.json                 for docker: one platform's image each
 *     oci-layout
 */
import { failedPrecondition, isCode, notFound, wrap } from '@gantry/errors';
import {
  annotations,
  digestAlgorithm,
  familiarReference,
  hostPlatform,
  isIndexType,
  isManifestType,
  layerMediaType,
  matchPlatform,
  mediaTypes,
  parseDigest,
  parseImageConfig,
  parseIndex,
  parseManifest,
  parseReference,
  selectForPlatform,
} from '@gantry/oci';
import type { Descriptor, Digest, Manifest, Platform } from '@gantry/oci';
import { tarEnd, tarHeader, tarPadding } from '../tar-writer.ts';
import { documentLimitBytes } from './archive-content.ts';
import type { ArchiveContent } from './archive-content.ts';

/** An image to be written; the name may be '' and need not be a reference. */
export interface ArchivedImage {
  readonly name: string;
  readonly target: Descriptor;
}

export interface WriteArchiveOptions {
  /** Whose images of an index are taken; this host's by default. */
  readonly platforms?: readonly Platform[] | 'all';
  /** Leaves out manifest.json. */
  readonly skipDockerManifest?: boolean;
  /** Leaves out layers that may not be passed on. */
  readonly skipNonDistributable?: boolean;
}

/** One image as docker sees it. */
interface DockerEntry {
  readonly manifest: Manifest;
  readonly tags: string[];
}

/**
 * The bytes of the archive, as they are asked for. Throws before the first byte when something is not stored (not found) or
 * has another size than its descriptor says (failed precondition).
 */
export async function* writeImageArchive(
  content: Pick<ArchiveContent, 'read' | 'readAll' | 'sizeOf'>,
  images: readonly ArchivedImage[],
  options: WriteArchiveOptions = {},
): AsyncGenerator<Uint8Array, void, void> {
  const graph = new ImageGraph(content, options);
  for (const image of images) await graph.add(image);
  const directories = new Set([
    'blobs',
    ...[...graph.blobs.keys()].map((digest) => `blobs/${digestAlgorithm(digest)}`),
  ]);
  for (const name of [...directories].sort()) yield tarHeader({ type: 'directory', name, mode: 0o755 });
  const digests = [...graph.blobs.keys()].sort((a, b) => compare(pathOf(a), pathOf(b)));
  for (const digest of digests) {
    const size = graph.blobs.get(digest) ?? 0n;
    yield tarHeader({ type: 'file', name: pathOf(digest), mode: 0o444, size });
    yield* content.read(digest);
    yield tarPadding(size);
  }
  yield* document('index.json', 0o644, graph.index());
  if (options.skipDockerManifest !== true) yield* document('manifest.json', 0o644, graph.dockerManifest());
  yield* document('oci-layout', 0o444, { imageLayoutVersion: '1.0.0' });
  yield tarEnd;
}

class ImageGraph {
  /** Digest → size. */
  readonly blobs = new Map<Digest, bigint>();
  readonly #content: Pick<ArchiveContent, 'readAll' | 'sizeOf'>;
  readonly #options: WriteArchiveOptions;
  readonly #entries: object[] = [];
  readonly #docker = new Map<Digest, DockerEntry>();

  constructor(content: Pick<ArchiveContent, 'readAll' | 'sizeOf'>, options: WriteArchiveOptions) {
    this.#content = content;
    this.#options = options;
  }

  async add({ name, target }: ArchivedImage): Promise<void> {
    await this.#take(target, true);
    this.#entries.push(indexEntry(name, target));
    await this.#addForDocker(name, target);
  }

  index(): object {
    return { schemaVersion: 2, mediaType: mediaTypes.index, manifests: this.#entries };
  }

  dockerManifest(): object {
    return [...this.#docker.values()].map(({ manifest, tags }) => ({
      Config: pathOf(manifest.config.digest),
      RepoTags: tags,
      Layers: manifest.layers.map(({ digest }) => pathOf(digest)),
    }));
  }

  /** Everything below a descriptor. `isTop`: not chosen out of an index yet. */
  async #take(descriptor: Descriptor, isTop: boolean): Promise<void> {
    const { digest, mediaType, size } = descriptor;
    if (this.blobs.has(digest)) return;
    await this.#takeBlob(descriptor, BigInt(size));
    if (isIndexType(mediaType)) {
      const index = parseIndex(await this.#content.readAll(digest, documentLimitBytes), mediaType);
      for (const entry of await this.#chosen(index.manifests)) await this.#take(entry, false);
    } else if (isManifestType(mediaType)) {
      const { config, layers } = parseManifest(await this.#content.readAll(digest, documentLimitBytes), mediaType);
      for (const blob of [config, ...layers]) {
        const mayStay = this.#options.skipNonDistributable === true;
        if (mayStay && layerMediaType(blob.mediaType)?.distributable === false) continue;
        if (!this.blobs.has(blob.digest)) await this.#takeBlob(blob, BigInt(blob.size));
      }
    } else if (isTop) {
      throw failedPrecondition(`${digest} is no image but ${JSON.stringify(mediaType.slice(0, 200))}`);
    }
  }

  async #takeBlob({ digest, mediaType }: Descriptor, size: bigint): Promise<void> {
    const stored = await this.#content.sizeOf(digest).catch((err: unknown) => {
      throw wrap(err, `${mediaType} ${digest}, which is not stored here`);
    });
    if (stored !== size) throw failedPrecondition(`${digest} has ${stored} bytes, what refers to it says ${size}`);
    this.blobs.set(digest, size);
  }

  /** The entries of an index that are wanted: the best for each platform. */
  async #chosen(entries: readonly Descriptor[]): Promise<readonly Descriptor[]> {
    const { platforms = [hostPlatform()] } = this.#options;
    if (platforms === 'all') return entries;
    const chosen = new Set<Descriptor>();
    for (const platform of platforms) {
      const entry = await this.#best(entries, platform);
      if (entry !== undefined) chosen.add(entry);
    }
    if (chosen.size === 0) throw notFound('a manifest of the image for the platforms asked for');
    return [...chosen];
  }

  /** Entries that do not name a platform are judged by their configs. */
  async #best(entries: readonly Descriptor[], platform: Platform): Promise<Descriptor | undefined> {
    const [best] = selectForPlatform(platform, entries);
    if (best !== undefined) return best;
    for (const entry of entries) {
      if (entry.platform !== undefined) continue;
      if (isIndexType(entry.mediaType)) return entry;
      if (isManifestType(entry.mediaType) && (await this.#fits(entry, platform))) return entry;
    }
    return undefined;
  }

  async #fits(entry: Descriptor, platform: Platform): Promise<boolean> {
    try {
      const { config } = parseManifest(await this.#content.readAll(entry.digest, documentLimitBytes));
      const parsed = parseImageConfig(await this.#content.readAll(config.digest, documentLimitBytes));
      return matchPlatform(platform, parsed) !== undefined;
    } catch (err) {
      if (isCode(err, 'not found') || isCode(err, 'invalid argument')) return false;
      throw err;
    }
  }

  /** Docker knows no index: it gets the image of the first platform, or of this host. */
  async #addForDocker(name: string, target: Descriptor): Promise<void> {
    const { platforms } = this.#options;
    const platform = (platforms === 'all' ? undefined : platforms?.[0]) ?? hostPlatform();
    let descriptor: Descriptor | undefined = target;
    while (descriptor !== undefined && isIndexType(descriptor.mediaType)) {
      const { manifests } = parseIndex(await this.#content.readAll(descriptor.digest, documentLimitBytes));
      descriptor = await this.#best(manifests, platform);
    }
    if (descriptor === undefined || !this.blobs.has(descriptor.digest)) return;
    const known = this.#docker.get(descriptor.digest);
    const manifest =
      known?.manifest ?? parseManifest(await this.#content.readAll(descriptor.digest, documentLimitBytes));
    const entry = known ?? { manifest, tags: [] };
    this.#docker.set(descriptor.digest, entry);
    const tag = familiarTag(name);
    if (tag !== undefined && !entry.tags.includes(tag)) entry.tags.push(tag);
  }
}

function indexEntry(name: string, { mediaType, digest, size, annotations: given = {} }: Descriptor): object {
  const named = name === '' ? {} : { [annotations.imageName]: name, [annotations.refName]: refName(name) };
  const all = Object.entries({ ...given, ...named }).sort(([a], [b]) => compare(a, b));
  return { mediaType, digest, size, ...(all.length === 0 ? {} : { annotations: Object.fromEntries(all) }) };
}

/** The tag, or the digest, or for what is no reference the name. */
function refName(name: string): string {
  try {
    const { tag, digest } = parseReference(name);
    return tag ?? digest ?? name;
  } catch {
    return name;
  }
}

/** `busybox:latest`; undefined for names without a tag. */
function familiarTag(name: string): string | undefined {
  try {
    const { domain, path, tag } = parseReference(name);
    return tag === undefined ? undefined : familiarReference({ domain, path, tag });
  } catch {
    return undefined;
  }
}

function* document(name: string, mode: number, value: object): Generator<Uint8Array> {
  const bytes = Buffer.from(JSON.stringify(value));
  const size = BigInt(bytes.length);
  yield tarHeader({ type: 'file', name, mode, size });
  yield bytes;
  yield tarPadding(size);
}

function pathOf(digest: string): string {
  return `blobs/${parseDigest(digest).replace(':', '/')}`;
}

/** By bytes, as Go sorts. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
