/** An image that is in the content store: its manifest and config for a platform. */
import { invalidArgument } from '@gantry/errors';
import {
  isIndexType,
  isManifestType,
  maximumIndexDepth,
  parseImageConfig,
  parseIndex,
  parseManifest,
} from '@gantry/oci';
import type { Descriptor, ImageConfig, Manifest, Platform } from '@gantry/oci';
import type { ImageContent } from './image-content.ts';
import { chooseManifest } from './pull/choose-platform.ts';
import { readStored } from './pull/documents.ts';
import { configLimitBytes, manifestLimitBytes } from './registry/limits.ts';

export interface StoredImage {
  /** Of its manifest. */
  readonly descriptor: Descriptor;
  /** The manifest and what refers to it, the target last. */
  readonly parents: readonly Descriptor[];
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly configDigest: string;
}

/** Throws not found when nothing fits the platform or something is not stored, invalid argument for what is no image. */
export async function storedImage(
  content: Pick<ImageContent, 'read'>,
  target: Descriptor,
  platform: Platform,
): Promise<StoredImage> {
  const parents = [target];
  let descriptor = target;
  while (isIndexType(descriptor.mediaType)) {
    if (parents.length > maximumIndexDepth)
      throw invalidArgument(`index ${target.digest} is more than ${maximumIndexDepth} levels deep`);
    const index = parseIndex(await readStored(content, descriptor, manifestLimitBytes), descriptor.mediaType);
    descriptor = await chooseManifest(index, platform, descriptor.digest, async (entry, kind) =>
      readStored(content, entry, kind === 'config' ? configLimitBytes : manifestLimitBytes),
    );
    parents.unshift(descriptor);
  }
  if (!isManifestType(descriptor.mediaType)) {
    throw invalidArgument(`${descriptor.digest} is no image but ${JSON.stringify(descriptor.mediaType.slice(0, 200))}`);
  }
  const manifest = parseManifest(await readStored(content, descriptor, manifestLimitBytes), descriptor.mediaType);
  const config = parseImageConfig(await readStored(content, manifest.config, configLimitBytes));
  return { descriptor, parents, manifest, config, configDigest: manifest.config.digest };
}
