/**
 * containerd.services.diff.v1.Diff: layers onto snapshots, and the difference of two snapshots as a layer. Blobs are found
 * and stored here; packages/diff does the work in a process of its own.
 */
import { randomBytes } from 'node:crypto';
import { checkLabels, diff, events, timestampToNs } from '@gantry/api';
import type { types } from '@gantry/api';
import type { ContentStore, Writer } from '@gantry/content';
import type { CompareRequest, CompareResult, DiffMount, Differ } from '@gantry/diff';
import { invalidArgument, isCode } from '@gantry/errors';
import { layerMediaType } from '@gantry/oci';
import type { Publisher } from '../events/exchange.ts';
import type { Call } from '../rpc/call.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

const uncompressedLabel = 'containerd.io/uncompressed';

export interface DiffServiceComponents {
  readonly content: ContentStore;
  readonly differ: Differ;
  readonly events: Publisher;
}

export function diffService(components: DiffServiceComponents): Binding {
  const { content, differ } = components;
  return bind(diff.DiffService, {
    async apply({ diff: descriptor, mounts, syncFs }, call) {
      if (descriptor === undefined) throw invalidArgument('diff apply without a descriptor');
      const { digest, mediaType } = descriptor;
      const { size } = content.info(call.namespace, digest);
      const blobPath = content.blobPath(call.namespace, digest);
      const { signal } = call;
      const request = { blobPath, mediaType, digest, size, mounts: mounts.map(mountOf), syncFs };
      return { applied: await differ.apply(request, { signal }) };
    },

    diff: async (request, call) => ({ diff: await compare(components, request, call) }),
  });
}

async function compare(
  { content, differ, events: publisher }: DiffServiceComponents,
  { left, right, mediaType, ref, labels, sourceDateEpoch }: diff.DiffRequest,
  call: Call,
): Promise<{ mediaType: string; digest: string; size: bigint }> {
  const { namespace, lease, signal } = call;
  checkLabels(labels);
  const request: CompareRequest = {
    left: left.map(mountOf),
    right: right.map(mountOf),
    mediaType,
    ...(sourceDateEpoch === undefined ? {} : { sourceDateEpoch: timestampToNs(sourceDateEpoch) / 1_000_000_000n }),
  };
  const name = ref === '' ? `diff-${process.hrtime.bigint()}-${randomBytes(6).toString('base64url')}` : ref;
  const writer = await content.openWriter(namespace, { ref: name, lease });
  try {
    await writer.truncate(0n);
    const made = await differ.compare(request, async (chunk) => writer.write(chunk), { signal });
    const packed = layerMediaType(made.mediaType)?.compression !== 'none';
    const own = packed ? { [uncompressedLabel]: made.diffId } : {};
    const isNew = await commit(writer, made, { ...labels, ...own });
    if (isNew) {
      const { digest, size } = made;
      publisher.publish(namespace, '/content/create', events.ContentCreate, { digest, size });
    } else {
      const paths = Object.keys(own).map((label) => `labels.${label}`);
      if (paths.length > 0) await content.update(namespace, { digest: made.digest, labels: own }, paths);
    }
    return { mediaType: made.mediaType, digest: made.digest, size: made.size };
  } catch (err) {
    await writer.close();
    // Nobody goes on with half a layer: the next one begins again.
    await content.abort(namespace, name, lease).catch(() => undefined);
    throw err;
  } finally {
    await writer.close();
  }
}

/** False when the namespace has the blob already. */
async function commit(
  writer: Writer,
  { digest, size }: CompareResult,
  labels: Readonly<Record<string, string>>,
): Promise<boolean> {
  try {
    await writer.commit({ size, expected: digest, labels });
    return true;
  } catch (err) {
    if (isCode(err, 'already exists')) return false;
    throw err;
  }
}

function mountOf({ type, source, target, options }: types.Mount): DiffMount {
  return { type, source, options, ...(target === '' ? {} : { target }) };
}
