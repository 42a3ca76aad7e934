/** Our own differ: blobs are found and stored here; packages/diff does the work in processes of its own. */
import { randomBytes } from 'node:crypto';
import { checkLabels, events, timestampToNs, wellKnown } from '@gantry/api';
import type { ContentStore, Writer } from '@gantry/content';
import type { CompareRequest, CompareResult, Differ, DiffResult } from '@gantry/diff';
import { failpoint, isCode } from '@gantry/errors';
import { layerMediaType } from '@gantry/oci';
import type { Publisher } from '../events/exchange.ts';
import type { ApplyLayer, CompareLayers, LayerBlob, LayerDiffer, Origin } from './layer-differ.ts';

const uncompressedLabel = 'containerd.io/uncompressed';

export interface WalkingDifferComponents {
  readonly content: ContentStore;
  readonly differ: Differ;
  readonly events: Publisher;
}

export class WalkingDiffer implements LayerDiffer {
  readonly name = 'walking';
  readonly detached = true;
  readonly #components: WalkingDifferComponents;

  constructor(components: WalkingDifferComponents) {
    this.#components = components;
  }

  warm(): void {
    this.#components.differ.warm();
  }

  async apply(origin: Origin, { layer, mounts, syncFs, payloads }: ApplyLayer): Promise<DiffResult> {
    const { content, differ } = this.#components;
    const { mediaType, digest } = layer;
    const { size } = content.info(origin.namespace, digest);
    await using blob = await content.localFile(origin.namespace, digest);
    const encoded = Object.entries(payloads).map(([name, any]) => [name, wellKnown.Any.encode(any)] as const);
    const applied = await differ.apply(
      { blobPath: blob.path, mediaType, digest, size, mounts, syncFs, payloads: Object.fromEntries(encoded) },
      signalOf(origin),
    );
    await failpoint('diff.apply.after-differ');
    return applied;
  }

  async compare(origin: Origin, wanted: CompareLayers): Promise<LayerBlob> {
    const { content, differ, events: publisher } = this.#components;
    const { left, right, mediaType, ref, labels, sourceDateEpoch } = wanted;
    const { namespace, lease } = origin;
    checkLabels(labels);
    const request: CompareRequest = {
      left,
      right,
      mediaType,
      ...(sourceDateEpoch === undefined ? {} : { sourceDateEpoch: timestampToNs(sourceDateEpoch) / 1_000_000_000n }),
    };
    const name = ref === '' ? `diff-${process.hrtime.bigint()}-${randomBytes(6).toString('base64url')}` : ref;
    const writer = await content.openWriter(namespace, { ref: name, lease });
    try {
      await writer.truncate(0n);
      const made = await differ.compare(request, async (chunk) => writer.write(chunk), signalOf(origin));
      await failpoint('diff.compare.after-differ');
      const packed = layerMediaType(made.mediaType)?.compression !== 'none';
      const own = packed ? { [uncompressedLabel]: made.diffId } : {};
      const isNew = await commit(writer, made, { ...labels, ...own });
      await failpoint('diff.compare.after-commit');
      if (isNew) {
        const { digest, size } = made;
        publisher.publish(namespace, '/content/create', events.ContentCreate, { digest, size });
      } else {
        const paths = Object.keys(own).map((label) => `labels.${label}`);
        if (paths.length > 0) await content.update(namespace, { digest: made.digest, labels: own }, paths);
      }
      return { mediaType: made.mediaType, digest: made.digest, size: made.size, annotations: {} };
    } catch (err) {
      await writer.close();
      // Nobody goes on with half a layer: the next one begins again.
      await content.abort(namespace, name, lease).catch(() => undefined);
      throw err;
    } finally {
      await writer.close();
    }
  }
}

function signalOf({ signal }: Origin): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
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
