/** Taking the writer's place of an ingest, waiting for whoever has it. */
import { isCode, unavailable } from '@gantry/errors';
import type { Writer } from '@gantry/content';
import type { Descriptor } from '@gantry/oci';
import { pause } from '../http/retry.ts';
import type { ImageContent } from '../image-content.ts';
import type { ContentKind } from './progress.ts';

const pollMs = 100;
/** A writer that is not moving for so long has been forgotten. */
const patienceMs = 30_000;

/** The name of a blob's ingest; the clients of this API use the same, so that they do not do the work twice. */
export function ingestRef(kind: ContentKind, { digest }: Descriptor): string {
  return `${kind}-${digest}`;
}

/**
 * The writer, with what the ingest already has; undefined when the content is there. Unavailable when another client
 * holds the ingest and does not get on.
 */
export async function takeWriter(
  content: ImageContent,
  ref: string,
  { digest, size }: Pick<Descriptor, 'size'> & { readonly digest: string },
  signal: AbortSignal | undefined,
): Promise<Writer | undefined> {
  let seen: bigint | undefined;
  let movedMs = performance.now();
  for (;;) {
    try {
      return await content.openWriter({ ref, total: BigInt(size), expected: digest });
    } catch (err) {
      if (isCode(err, 'already exists')) return undefined;
      if (!isCode(err, 'unavailable')) throw err;
      const offset = await content.ingestOffset(ref);
      if (offset !== seen) movedMs = performance.now();
      seen = offset;
      if (performance.now() - movedMs > patienceMs) {
        throw unavailable(`another client holds ingest ${ref} and does not get on`, {}, err);
      }
    }
    await pause(pollMs, signal);
  }
}
