/** From an image's name to the manifest and config this host runs. */
import {
  formatPlatform,
  hostPlatform,
  isIndexType,
  matchPlatform,
  maximumIndexDepth,
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
  const digest = await manifestDigest(content, target, platform, options, { depth: 0, seen: new Set() });
  const manifest = parseManifest(await content.readAll(digest, documentLimitBytes, options));
  const config = parseImageConfig(await content.readAll(manifest.config.digest, documentLimitBytes, options));
  return { manifestDigest: digest, manifest, config, configDigest: manifest.config.digest };
}

/** How deep it is, and what did not fit: an index may name one entry many times. */
interface Descent {
  readonly depth: number;
  readonly seen: Set<string>;
}

/** Index entries that name their platform come first; of the others the first whose config fits. */
async function manifestDigest(
  content: ContentCalls,
  target: { readonly mediaType: string; readonly digest: string },
  platform: Platform,
  options: CallOptions,
  { depth, seen }: Descent,
): Promise<string> {
  if (!isIndexType(target.mediaType)) return target.digest;
  if (depth >= maximumIndexDepth) throw notFound(`a manifest within ${maximumIndexDepth} levels of indexes`);
  const { manifests } = parseIndex(await content.readAll(target.digest, documentLimitBytes, options));
  const [chosen] = selectForPlatform(platform, manifests);
  if (chosen !== undefined) return manifestDigest(content, chosen, platform, options, { depth: depth + 1, seen });
  for (const candidate of manifests.filter((entry) => entry.platform === undefined)) {
    if (seen.has(candidate.digest)) continue;
    seen.add(candidate.digest);
    const digest = await manifestDigest(content, candidate, platform, options, { depth: depth + 1, seen });
    const manifest = parseManifest(await content.readAll(digest, documentLimitBytes, options));
    const config = parseImageConfig(await content.readAll(manifest.config.digest, documentLimitBytes, options));
    if (matchPlatform(platform, config) !== undefined) return digest;
  }
  throw notFound(`${noMatch} ${formatPlatform(platform)} in manifest ${target.digest}`);
}
