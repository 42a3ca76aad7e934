/**
 * The labels that tell the garbage collector what a document refers to: index → `gc.ref.content.m.<n>`, manifest →
 * `gc.ref.content.config` and `gc.ref.content.l.<n>`.
 */
import { invalidArgument, isCode } from '@gantry/errors';
import { isIndexType, layerMediaType, maximumIndexDepth, parseIndex, parseManifest } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { documentLimitBytes } from './archive-content.ts';
import type { ArchiveContent } from './archive-content.ts';

const refLabel = 'containerd.io/gc.ref.content';

/** Which manifests of an index are wanted with what they refer to. */
export type Wanted = (entry: Descriptor) => boolean;

/**
 * Labels the document and everything below it. Manifests of an index that are not stored or not wanted (other platforms)
 * are labelled but not followed; a stored manifest must be complete, but for layers that may not be passed on, or not found
 * is thrown.
 */
export async function labelReferences(
  content: ArchiveContent,
  target: { readonly mediaType: string; readonly digest: string },
  wanted: Wanted = () => true,
  seen: Set<string> = new Set(),
  depth = 0,
): Promise<void> {
  if (depth > maximumIndexDepth) throw invalidArgument(`more than ${maximumIndexDepth} levels of indexes`);
  const bytes = await content.readAll(target.digest, documentLimitBytes);
  if (isIndexType(target.mediaType)) {
    const { manifests } = parseIndex(bytes);
    await content.setLabels(target.digest, numbered('m', manifests));
    for (const manifest of manifests) {
      // An index may name one entry many times, and be named by many: each is looked at once.
      if (!wanted(manifest) || seen.has(manifest.digest)) continue;
      seen.add(manifest.digest);
      if (await isStored(content, manifest.digest)) {
        await labelReferences(content, manifest, wanted, seen, depth + 1);
      }
    }
    return;
  }
  const { config, layers } = parseManifest(bytes);
  await content.sizeOf(config.digest);
  for (const { mediaType, digest } of distinct(layers)) {
    // Those that may not be passed on are often not in archives; who needs one is told then.
    if (layerMediaType(mediaType)?.distributable !== false) await content.sizeOf(digest);
  }
  await content.setLabels(target.digest, { [`${refLabel}.config`]: config.digest, ...numbered('l', layers) });
}

function numbered(letter: string, children: readonly Descriptor[]): Record<string, string> {
  return Object.fromEntries(distinct(children).map(({ digest }, index) => [`${refLabel}.${letter}.${index}`, digest]));
}

/** The first of each digest. */
function distinct(children: readonly Descriptor[]): Descriptor[] {
  return [...new Map(children.toReversed().map((child) => [child.digest, child])).values()].toReversed();
}

async function isStored(content: ArchiveContent, digest: string): Promise<boolean> {
  try {
    await content.sizeOf(digest);
    return true;
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}
