/** What of an image can be pushed: all of it, or of an index that is not whole the one image that is here. */
import type { Client, ImageRecord } from '@gantry/client';
import { isCode } from '@gantry/errors';
import { formatPlatform, isIndexType, parseIndex, parseManifest } from '@gantry/oci';
import type { Descriptor, Platform } from '@gantry/oci';

const documentLimitBytes = 8 * 1024 * 1024;

/** Of an image that is an index: the platform to push alone, and how to say so. */
export interface Part {
  readonly platform: Platform;
  readonly sentence: string;
}

/**
 * Undefined: everything is to be pushed, because it is here, or because there is not exactly one image that is (and the push
 * will say what is missing).
 */
export async function onlyPartHere(client: Client, { name, target }: ImageRecord): Promise<Part | undefined> {
  if (target === undefined || !isIndexType(target.mediaType)) return undefined;
  const { manifests } = parseIndex(await client.content.readAll(target.digest, documentLimitBytes));
  const whole: Descriptor[] = [];
  for (const entry of manifests) if (await isWhole(client, entry)) whole.push(entry);
  if (whole.length === manifests.length) return undefined;
  const images = whole.filter(({ platform }) => platform !== undefined && platform.os !== 'unknown');
  const [only] = images;
  if (images.length !== 1 || only?.platform === undefined) return undefined;
  const text = formatPlatform(only.platform);
  const sentence = `of ${name} only the image for ${text} is here: that one is pushed, not the index of all platforms`;
  return { platform: only.platform, sentence };
}

/** With its config and all layers but those that are never pushed. */
async function isWhole(client: Client, entry: Descriptor): Promise<boolean> {
  if (!(await isHere(client, entry.digest))) return false;
  if (isIndexType(entry.mediaType)) return true;
  const { config, layers } = parseManifest(await client.content.readAll(entry.digest, documentLimitBytes));
  for (const { digest, urls = [] } of [config, ...layers]) {
    if (urls.length === 0 && !(await isHere(client, digest))) return false;
  }
  return true;
}

async function isHere(client: Client, digest: string): Promise<boolean> {
  try {
    await client.content.info(digest);
    return true;
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}
