/** Layers packed in another way, a few at a time, each once. */
import { createHash, randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { compress, decompress, detectCompression } from '@gantry/archive';
import { dataLoss, invalidArgument, isCode } from '@gantry/errors';
import { finishDigest, layerMediaType, layerTypeIn, parseDigest } from '@gantry/oci';
import type { Descriptor, LayerCompression, MediaTypeFamily } from '@gantry/oci';
import type { Client } from '../client.ts';
import type { CallOptions } from '../transport/call-options.ts';

/** On a layer that was made here: how it is packed, and the digest of the one that it was made of. */
const convertedLabel = 'io.gantry/converted-from';
const uncompressedLabel = 'containerd.io/uncompressed';

/** Annotations that describe how the bytes are packed: of other bytes they are wrong. */
const packingAnnotations = ['containerd.io/snapshot/stargz/', 'io.github.containers.zstd-chunked.', 'io.containers.'];

export interface LayerForm {
  readonly compression: LayerCompression | 'keep';
  readonly family: MediaTypeFamily;
}

type Leased = CallOptions & { readonly lease: string };

/** What earlier conversions have made: packing and digest of the source → the layer. */
type KnownLayers = ReadonlyMap<string, { readonly digest: string; readonly size: bigint }>;

export class LayerConversion {
  readonly #client: Client;
  readonly #form: LayerForm;
  readonly #leased: Leased;
  readonly #known: KnownLayers;
  readonly #made = new Map<string, Promise<Descriptor>>();

  private constructor(client: Client, form: LayerForm, leased: Leased, known: KnownLayers) {
    this.#client = client;
    this.#form = form;
    this.#leased = leased;
    this.#known = known;
  }

  static async begin(client: Client, form: LayerForm, leased: Leased): Promise<LayerConversion> {
    const known = new Map<string, { readonly digest: string; readonly size: bigint }>();
    if (form.compression !== 'keep') {
      for await (const { digest, size, labels } of client.content.list([`labels."${convertedLabel}"`], leased)) {
        known.set(labels[convertedLabel] ?? '', { digest, size });
      }
    }
    return new LayerConversion(client, form, leased, known);
  }

  /** The layers in the wanted form, in their order; `diffIdOf` is called for each that has to be packed anew. */
  async all(
    layers: readonly Descriptor[],
    diffIdOf: (layer: Descriptor, index: number) => string,
  ): Promise<Descriptor[]> {
    const failed = new AbortController();
    const signals = [failed.signal, ...(this.#leased.signal === undefined ? [] : [this.#leased.signal])];
    const leased = { ...this.#leased, signal: AbortSignal.any(signals) };
    const done: Descriptor[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let index = next++; index < layers.length; index = next++) {
        const layer = layers[index];
        if (layer === undefined || failed.signal.aborted) return;
        try {
          done[index] = await this.#one(layer, () => diffIdOf(layer, index), leased);
        } catch (err) {
          failed.abort();
          throw err;
        }
      }
    };
    const width = Math.min(4, availableParallelism());
    const ends = await Promise.allSettled(Array.from({ length: width }, work));
    const reasons = ends.flatMap((end): unknown[] => (end.status === 'rejected' ? [end.reason] : []));
    const [reason] = [...reasons.filter((err) => !isCode(err, 'cancelled')), ...reasons];
    if (reason !== undefined) throw reason;
    return done;
  }

  /** What is no layer that we know, or an encrypted one, is kept. */
  async #one(layer: Descriptor, diffId: () => string, leased: Leased): Promise<Descriptor> {
    const kind = layerMediaType(layer.mediaType);
    if (kind === undefined || kind.encrypted) return layer;
    const { family } = this.#form;
    const compression = this.#form.compression === 'keep' ? kind.compression : this.#form.compression;
    const mediaType = layerTypeIn(family, { compression, distributable: kind.distributable });
    if (mediaType === undefined) {
      throw invalidArgument(`layer ${layer.digest}: ${family} has no media type for it packed as ${compression}`);
    }
    const { annotations, ...rest } = layer;
    const kept = family === 'docker' || annotations === undefined ? {} : { annotations };
    if (kind.compression === compression) return { ...rest, ...kept, mediaType };
    const key = `${compression} ${layer.digest}`;
    const making = this.#made.get(key) ?? this.#pack(layer, key, compression, diffId(), leased);
    this.#made.set(key, making);
    const { digest, size } = await making;
    const described = Object.entries(kept.annotations ?? {}).filter(([name]) => !isPackingAnnotation(name));
    return {
      mediaType,
      digest,
      size,
      ...(described.length === 0 ? {} : { annotations: Object.fromEntries(described) }),
    };
  }

  async #pack(
    layer: Descriptor,
    key: string,
    compression: LayerCompression,
    diffId: string,
    leased: Leased,
  ): Promise<Descriptor> {
    const { content, leases } = this.#client;
    const known = this.#known.get(key);
    if (known !== undefined) {
      await leases.addResource(leased.lease, { type: 'content', id: known.digest }, leased);
      return { mediaType: '', digest: parseDigest(known.digest), size: Number(known.size) };
    }
    const plain = checked(unpacked(content.read(layer.digest, leased)), layer.digest, diffId);
    const labels = {
      [convertedLabel]: key,
      ...(compression === 'none' ? {} : { [uncompressedLabel]: diffId }),
    };
    const written = await content.write(compress(plain, compression), {
      ...leased,
      ref: `convert-${randomUUID()}`,
      labels,
    });
    if (written.existed) await content.setLabels(written.digest, labels, leased);
    return { mediaType: '', digest: parseDigest(written.digest), size: Number(written.size) };
  }
}

function isPackingAnnotation(name: string): boolean {
  return packingAnnotations.some((prefix) => name.startsWith(prefix));
}

/** The bytes of the tar, whatever the media type says of their packing. */
async function* unpacked(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const pieces = source[Symbol.asyncIterator]();
  const first = await pieces.next();
  if (first.done === true) return;
  const whole = async function* (): AsyncGenerator<Uint8Array> {
    yield first.value;
    yield* { [Symbol.asyncIterator]: () => pieces };
  };
  yield* decompress(whole(), detectCompression(first.value));
}

/** The same bytes; throws data loss at their end when they are not the layer. */
async function* checked(source: AsyncIterable<Uint8Array>, digest: string, diffId: string): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  for await (const bytes of source) {
    hash.update(bytes);
    yield bytes;
  }
  const found = finishDigest(hash);
  if (found !== diffId) throw dataLoss(`layer ${digest} is ${found} unpacked, the config says ${diffId}`);
}
