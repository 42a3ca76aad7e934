/**
 * Imports an image archive (an OCI layout or what `docker save` writes, as a tar) through the content, images and
 * snapshots services, as containerd's own client does: nothing of it needs the server to know archives.
 *
 * Everything happens under a lease, so that garbage collection keeps off until the images refer to it.
 */
import {
  annotations,
  digestOf,
  isIndexType,
  isManifestType,
  mediaTypes,
  parseImageLayout,
  parseIndex,
} from '@gantry/oci';
import type { Descriptor, Platform } from '@gantry/oci';
import { invalidArgument } from '@gantry/errors';
import type { ContentCalls } from '../services/content.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { storeArchive } from './archive-blobs.ts';
import type { ArchiveFiles } from './archive-blobs.ts';
import { parseDockerManifest } from './docker-manifest.ts';
import { labelChildren } from './gc-labels.ts';
import { importPrefix, nameOfEntry } from './names.ts';

/** An image found in an archive: its content is stored, its name is not yet. */
export interface FoundImage {
  readonly name: string;
  readonly target: { readonly mediaType: string; readonly digest: string; readonly size: bigint };
}

export interface ReadArchiveOptions extends CallOptions {
  /** Name for images whose archive gives only a tag, or nothing. Default `import-<date>`. */
  readonly prefix?: string | undefined;
  readonly platform?: Platform | undefined;
}

/**
 * Stores the archive's content with its references labelled and returns the images in it.
 * Throws invalid argument when it is neither kind of archive, or incomplete.
 */
export async function readImageArchive(
  content: ContentCalls,
  source: AsyncIterable<Uint8Array>,
  options: ReadArchiveOptions,
): Promise<FoundImage[]> {
  const files = await storeArchive(source, content, options);
  const images =
    files.document('oci-layout') === undefined
      ? await dockerImages(content, files, options)
      : layoutImages(files, options.prefix ?? importPrefix());
  for (const image of images) await labelChildren(content, image.target, options);
  return images;
}

function layoutImages(files: ArchiveFiles, prefix: string): FoundImage[] {
  parseImageLayout(files.document('oci-layout') ?? '');
  const indexBytes = files.document('index.json');
  if (indexBytes === undefined) throw invalidArgument('the archive has an oci-layout but no index.json');
  const entries = parseIndex(indexBytes).manifests.filter(isImage);
  if (entries.length === 0) throw invalidArgument('the archive names no image');
  return entries.map((entry) => ({
    name: nameOfEntry(entry, prefix),
    target: { mediaType: entry.mediaType, digest: entry.digest, size: BigInt(entry.size) },
  }));
}

function isImage(entry: Descriptor): boolean {
  const isAttestation = entry.annotations?.[annotations.dockerReferenceType] !== undefined;
  return !isAttestation && (isManifestType(entry.mediaType) || isIndexType(entry.mediaType));
}

/** Writes the manifest that a docker archive does not have, one for each entry of its manifest.json. */
async function dockerImages(
  content: ContentCalls,
  files: ArchiveFiles,
  options: ReadArchiveOptions,
): Promise<FoundImage[]> {
  const bytes = files.document('manifest.json');
  if (bytes === undefined) throw invalidArgument('the archive has neither oci-layout nor manifest.json');
  const images: FoundImage[] = [];
  for (const entry of parseDockerManifest(bytes)) {
    const config = files.file(entry.config);
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.dockerManifest,
        config: { mediaType: mediaTypes.dockerConfig, digest: config.digest, size: Number(config.size) },
        layers: entry.layers.map((path) => {
          const layer = files.file(path);
          const mediaType = layer.gzipped ? mediaTypes.dockerLayerGzip : mediaTypes.dockerLayer;
          return { mediaType, digest: layer.digest, size: Number(layer.size) };
        }),
      }),
    );
    const digest = digestOf(manifest);
    await content.write([manifest], { ...options, ref: `manifest-${digest}`, expected: digest });
    const target = { mediaType: mediaTypes.dockerManifest, digest, size: BigInt(manifest.length) };
    const names = entry.names.length > 0 ? entry.names : [`${options.prefix ?? importPrefix()}@${digest}`];
    images.push(...names.map((name) => ({ name, target })));
  }
  return images;
}
