/**
 * Reads an image archive (an OCI layout or what `docker save` writes, as a tar) into a content store: every file becomes a
 * blob, references are labelled for the garbage collector. Naming the images is the caller's.
 */
import { invalidArgument } from '@gantry/errors';
import {
  annotations,
  digestOf,
  isIndexType,
  isManifestType,
  mediaTypes,
  parseDigest,
  parseImageLayout,
  parseIndex,
} from '@gantry/oci';
import type { Descriptor, LayerCompression } from '@gantry/oci';
import type { ArchiveContent } from './archive-content.ts';
import { parseDockerManifest } from './docker-manifest.ts';
import { labelReferences } from './label-references.ts';
import type { Wanted } from './label-references.ts';
import { storeArchive } from './store-files.ts';
import type { ArchiveFiles, StoredFile } from './store-files.ts';

export interface ReadArchiveOptions {
  /** Which manifests of an index are kept with what they refer to; all that are there by default. */
  readonly wanted?: Wanted;
  /** Called for a layer of a docker archive that is not packed: stores it packed, if it is to be. */
  readonly pack?: (layer: StoredFile) => Promise<StoredFile>;
}

/** What an archive holds. */
export interface ImageArchive {
  /** The images, as entries of an index: with the annotations that name them. One of several names comes several times. */
  readonly images: readonly Descriptor[];
  /** The index of all of them: the archive's own, or one made for it. Not stored. */
  readonly index: Buffer;
}

/**
 * Stores the archive's content and returns the images in it. Throws invalid argument when it is neither kind of archive, not
 * found when it is incomplete.
 */
export async function readImageArchive(
  content: ArchiveContent,
  source: AsyncIterable<Uint8Array>,
  options: ReadArchiveOptions = {},
): Promise<ImageArchive> {
  const files = await storeArchive(source, content);
  const isLayout = files.document('oci-layout') !== undefined;
  const images = isLayout ? layoutImages(files) : await dockerImages(content, files, options);
  const labelled = new Set<string>();
  for (const entry of images) {
    if (labelled.has(entry.digest)) continue;
    labelled.add(entry.digest);
    await labelReferences(content, entry, options.wanted);
  }
  const made = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: images };
  return { images, index: (isLayout && files.document('index.json')) || Buffer.from(JSON.stringify(made)) };
}

function layoutImages(files: ArchiveFiles): Descriptor[] {
  parseImageLayout(files.document('oci-layout') ?? '');
  const indexBytes = files.document('index.json');
  if (indexBytes === undefined) throw invalidArgument('the archive has an oci-layout but no index.json');
  const entries = parseIndex(indexBytes).manifests.filter(isImage);
  if (entries.length === 0) throw invalidArgument('the archive names no image');
  return entries;
}

function isImage(entry: Descriptor): boolean {
  const isAttestation = entry.annotations?.[annotations.dockerReferenceType] !== undefined;
  return !isAttestation && (isManifestType(entry.mediaType) || isIndexType(entry.mediaType));
}

const layerTypes: Readonly<Record<LayerCompression, string>> = {
  none: mediaTypes.dockerLayer,
  gzip: mediaTypes.dockerLayerGzip,
  zstd: mediaTypes.dockerLayerZstd,
};

/** Writes the manifest that a docker archive does not have, one for each entry of its manifest.json. */
async function dockerImages(
  content: ArchiveContent,
  files: ArchiveFiles,
  { pack = async (layer) => layer }: ReadArchiveOptions,
): Promise<Descriptor[]> {
  const bytes = files.document('manifest.json');
  if (bytes === undefined) throw invalidArgument('the archive has neither oci-layout nor manifest.json');
  const images: Descriptor[] = [];
  for (const entry of parseDockerManifest(bytes)) {
    const config = files.file(entry.config);
    const layers = [];
    for (const path of entry.layers) {
      const stored = files.file(path);
      const { digest, size, compression } = stored.compression === 'none' ? await pack(stored) : stored;
      layers.push({ mediaType: layerTypes[compression], digest, size: Number(size) });
    }
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.dockerManifest,
        config: { mediaType: mediaTypes.dockerConfig, digest: config.digest, size: Number(config.size) },
        layers,
      }),
    );
    const digest = digestOf(manifest);
    await content.write([manifest], { ref: `manifest-${digest}`, expected: digest, size: BigInt(manifest.length) });
    const target = { mediaType: mediaTypes.dockerManifest, digest: parseDigest(digest), size: manifest.length };
    if (entry.names.length === 0) images.push(target);
    for (const name of entry.names) images.push({ ...target, annotations: { [annotations.imageName]: name } });
  }
  return images;
}
