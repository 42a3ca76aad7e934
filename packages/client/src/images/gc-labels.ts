/**
 * The labels that tell the garbage collector what a document refers to: index → `gc.ref.content.m.<n>`, manifest →
 * `gc.ref.content.config` and `gc.ref.content.l.<n>`.
 */
import { isIndexType, parseIndex, parseManifest } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { isCode } from '@gantry/errors';
import type { ContentCalls } from '../services/content.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { documentLimitBytes } from './resolve.ts';

const refLabel = 'containerd.io/gc.ref.content';

/**
 * Labels the document and everything below it. Manifests of an index that are not stored (other platforms) are
 * labelled but not followed; a stored manifest must be complete, or not found is thrown.
 */
export async function labelChildren(
  content: ContentCalls,
  target: { readonly mediaType: string; readonly digest: string },
  options: CallOptions,
): Promise<void> {
  const bytes = await content.readAll(target.digest, documentLimitBytes, options);
  if (isIndexType(target.mediaType)) {
    const { manifests } = parseIndex(bytes);
    await content.setLabels(target.digest, numbered('m', manifests), options);
    for (const manifest of manifests) {
      if (await isStored(content, manifest.digest, options)) await labelChildren(content, manifest, options);
    }
    return;
  }
  const { config, layers } = parseManifest(bytes);
  for (const child of [config, ...layers]) await content.info(child.digest, options);
  const labels = { [`${refLabel}.config`]: config.digest, ...numbered('l', layers) };
  await content.setLabels(target.digest, labels, options);
}

function numbered(letter: string, children: readonly Descriptor[]): Record<string, string> {
  return Object.fromEntries(children.map((child, index) => [`${refLabel}.${letter}.${index}`, child.digest]));
}

async function isStored(content: ContentCalls, digest: string, options: CallOptions): Promise<boolean> {
  try {
    await content.info(digest, options);
    return true;
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}
