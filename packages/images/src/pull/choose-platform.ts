/** Which manifests of an index are pulled. */
import { isCode, notFound } from '@gantry/errors';
import {
  annotations,
  formatPlatform,
  isConfigType,
  isIndexType,
  matchPlatform,
  parseImageConfig,
  parseManifest,
  selectForPlatform,
} from '@gantry/oci';
import type { Descriptor, ImageConfig, Index, Platform } from '@gantry/oci';

/** Reads a manifest or config for a look inside. */
export type ReadDocument = (descriptor: Descriptor, kind: 'manifest' | 'config') => Promise<Uint8Array>;

/**
 * The best entry for the platform. Entries that do not name one are judged by their configs, when no other fits.
 * Throws not found when nothing fits.
 */
export async function chooseManifest(
  { manifests }: Index,
  platform: Platform,
  digest: string,
  read: ReadDocument,
): Promise<Descriptor> {
  const [best] = selectForPlatform(platform, manifests);
  if (best !== undefined) return best;
  for (const entry of manifests) {
    if (entry.platform !== undefined || isAttestation(entry)) continue;
    // Without a platform an index is as good as any: the same choice is made in it.
    if (isIndexType(entry.mediaType)) return entry;
    const { config } = parseManifest(await read(entry, 'manifest'), entry.mediaType);
    if (!isImageConfig(config)) continue;
    if (matchPlatform(platform, parseImageConfig(await read(config, 'config'))) !== undefined) return entry;
  }
  const offered = manifests.flatMap((entry) => (entry.platform === undefined ? [] : [formatPlatform(entry.platform)]));
  const there = offered.filter((text) => !text.startsWith('unknown/'));
  const others = there.length === 0 ? '' : `: there are ${[...new Set(there)].slice(0, 20).join(', ')}`;
  throw notFound(`no match for platform ${formatPlatform(platform)} in manifest ${digest}${others}`);
}

/** The best entry for each platform that is there, each entry once. Throws not found when none is. */
export async function chooseManifests(
  index: Index,
  platforms: readonly Platform[],
  digest: string,
  read: ReadDocument,
): Promise<Descriptor[]> {
  const chosen = new Set<Descriptor>();
  let missing: unknown;
  for (const platform of platforms) {
    try {
      chosen.add(await chooseManifest(index, platform, digest, read));
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
      missing ??= err;
    }
  }
  if (chosen.size === 0 && missing !== undefined) throw missing;
  return [...chosen];
}

/** Throws not found when a single image is made for something else. A config that does not say is taken. */
export function checkPlatforms(platforms: readonly Platform[], config: ImageConfig, digest: string): void {
  if (config.os === '' || config.architecture === '') return;
  if (platforms.some((platform) => matchPlatform(platform, config) !== undefined)) return;
  const wanted = platforms.map((platform) => formatPlatform(platform)).join(', ');
  throw notFound(`no match for platform ${wanted} in manifest ${digest}: it is for ${formatPlatform(config)}`);
}

/** True for the config of an image, also for the type that old registries gave it. */
export function isImageConfig({ mediaType }: Descriptor): boolean {
  return isConfigType(mediaType) || mediaType === 'application/octet-stream';
}

function isAttestation(entry: Descriptor): boolean {
  return entry.annotations?.[annotations.dockerReferenceType] !== undefined;
}
