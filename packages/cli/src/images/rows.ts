/** Images as the command line shows them: the record, and what the documents behind it say. */
import { toDate } from '@gantry/client';
import type { Client, ImageRecord, ResolvedImage } from '@gantry/client';
import { isCode, notFound } from '@gantry/errors';
import { formatPlatform, matchPlatform, parsePlatform, parseReference } from '@gantry/oci';
import { familiarName } from '../commands/ps.ts';

export interface ImageRow {
  readonly image: ImageRecord;
  readonly repository: string;
  /** `<none>` for a name with a digest only. */
  readonly tag: string;
  /** Digest of the config; of the target where there is no image for this host. */
  readonly id: string;
  /** Undefined when the documents are not here. */
  readonly sizeBytes: number | undefined;
  readonly created: Date | undefined;
  readonly platform: string;
  /** Of the image's config. */
  readonly labels: Readonly<Record<string, string>>;
}

/** An image without content for this host is a row all the same. Throws unavailable. */
export async function imageRow(client: Client, image: ImageRecord): Promise<ImageRow> {
  const names = { image, ...splitName(image.name) };
  try {
    const { config, configDigest, manifest } = await client.images.resolve(image);
    const sizeBytes = [manifest.config, ...manifest.layers].reduce((sum, blob) => sum + blob.size, 0);
    const created = config.created === undefined ? undefined : new Date(config.created);
    const known = created !== undefined && !Number.isNaN(created.getTime()) ? created : toDate(image.createdAt);
    const labels = config.config?.Labels ?? {};
    return { ...names, id: configDigest, sizeBytes, created: known, platform: formatPlatform(config), labels };
  } catch (err) {
    if (isCode(err, 'unavailable')) throw err;
    const id = image.target?.digest ?? '';
    return { ...names, id, sizeBytes: undefined, created: toDate(image.createdAt), platform: '', labels: {} };
  }
}

/** `docker.io/library/busybox:1.36` is busybox and 1.36; what is no reference stays whole. */
export function splitName(name: string): { readonly repository: string; readonly tag: string } {
  try {
    const { domain, path, tag, digest } = parseReference(name);
    const repository = familiarName(`${domain}/${path}`);
    return { repository, tag: tag ?? (digest === undefined ? '' : '<none>') };
  } catch {
    const [, repository = name, tag = ''] = /^([^@]+):([^/:]+)$/.exec(name) ?? [];
    return { repository, tag };
  }
}

/** False for names by a digest alone: images that only a new build or pull has left behind are called so. */
export function hasTag(name: string): boolean {
  try {
    return parseReference(name).tag !== undefined;
  } catch {
    return !name.includes('@');
  }
}

/** The documents of the image for a platform that somebody asked for by name, or for this host. Throws not found. */
export async function documentsFor(client: Client, name: string, text: string | undefined): Promise<ResolvedImage> {
  if (text === undefined) return client.images.resolve(name);
  const platform = parsePlatform(text);
  const found = await client.images.resolve(name, { platform });
  if (matchPlatform(platform, found.config) !== undefined) return found;
  throw notFound(`image "${name}" for ${formatPlatform(platform)}: it is for ${formatPlatform(found.config)}`);
}
