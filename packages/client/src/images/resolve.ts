/** From an image's name to the manifest and config this host runs. */
import {
  formatPlatform,
  hostPlatform,
  isIndexType,
  matchPlatform,
  parseImageConfig,
  parseIndex,
  parseManifest,
  selectForPlatform,
} from '@gantry/oci';
import type { ImageConfig, Manifest, Platform } from '@gantry/oci';
import { notFound } from '@gantry/errors';
import type { ContentCalls } from '../services/content.ts';
import type { CallOptions } from '../transport/call-options.ts';

/** Manifests and configs larger than this are refused before they are parsed. */
export const documentLimitBytes = 8 * 1024 * 1024;

/** How the error begins that an index has nothing for a platform. */
export const noMatch = 'no match for platform';

/** An index may point to an index; nobody nests deeper than this in earnest. */
const maxIndexDepth = 4;

/** One platform's image. */
export interface ResolvedImage {
  readonly manifestDigest: string;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** Digest of the config blob: the image id. */
  readonly configDigest: string;
}

/**
 * The manifest and config below `target` that fit `platform` best. Throws not found when nothing fits, or when the
 * content is not there; invalid argument when a document is malformed.
 */
export async function resolveImage(
  content: ContentCalls,
  target: { readonly mediaType: string; readonly digest: string },
  platform: Platform = hostPlatform(),
  options: CallOptions = {},
): Promise<ResolvedImage> {
  const digest = await manifestDigest(content, target, platform, options, 0);
  const manifest = parseManifest(await content.readAll(digest, documentLimitBytes, options));
  const config = parseImageConfig(await content.readAll(manifest.config.digest, documentLimitBytes, options));
  return { manifestDigest: digest, manifest, config, configDigest: manifest.config.digest };
}

/** Index entries that name their platform come first; of the others the first whose config fits. */
async function manifestDigest(
  content: ContentCalls,
  target: { readonly mediaType: string; readonly digest: string },
  platform: Platform,
  options: CallOptions,
  depth: number,
): Promise<string> {
  if (!isIndexType(target.mediaType)) return target.digest;
  if (depth >= maxIndexDepth) throw notFound(`a manifest within ${maxIndexDepth} levels of indexes`);
  const { manifests } = parseIndex(await content.readAll(target.digest, documentLimitBytes, options));
  const [chosen] = selectForPlatform(platform, manifests);
  if (chosen !== undefined) return manifestDigest(content, chosen, platform, options, depth + 1);
  for (const candidate of manifests.filter((entry) => entry.platform === undefined)) {
    const digest = await manifestDigest(content, candidate, platform, options, depth + 1);
    const manifest = parseManifest(await content.readAll(digest, documentLimitBytes, options));
    const config = parseImageConfig(await content.readAll(manifest.config.digest, documentLimitBytes, options));
    if (matchPlatform(platform, config) !== undefined) return digest;
  }
  throw notFound(`${noMatch} ${formatPlatform(platform)} in manifest ${target.digest}`);
}
