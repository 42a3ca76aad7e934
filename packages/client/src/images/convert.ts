/** An image with its layers packed in another way: the same files, the same config, other blobs. */
import { randomUUID, createHash } from 'node:crypto';
import type { images } from '@gantry/api';
import { compress, decompress, detectCompression } from '@gantry/archive';
import { dataLoss, invalidArgument } from '@gantry/errors';
import { digestOf, finishDigest, layerMediaType, mediaTypes, normalizeReference, parseDigest } from '@gantry/oci';
import type { Descriptor, LayerCompression } from '@gantry/oci';
import type { Client } from '../client.ts';
import type { CallOptions } from '../transport/call-options.ts';
import type { PlatformOptions } from './images.ts';

export interface ConvertOptions extends PlatformOptions {
  /** How its layers are to be packed. */
  readonly compression: LayerCompression;
  /** Called before a layer is packed; `index` counts from 0. */
  readonly onLayer?:
    | ((layer: { readonly digest: string; readonly index: number; readonly count: number }) => void)
    | undefined;
}

const types: Readonly<Record<LayerCompression, string>> = {
  none: mediaTypes.layer,
  gzip: mediaTypes.layerGzip,
  zstd: mediaTypes.layerZstd,
};

/**
 * Makes an OCI image of the one that `source` has for the platform and gives it the name, moving a name that exists. Layers that
 * are packed so already are kept. What is unpacked is checked against the config. Throws not found, invalid argument (name, broken
 * layer), data loss (a layer that is not what the config says).
 */
export async function convertImage(
  client: Client,
  source: string,
  name: string,
  options: ConvertOptions,
): Promise<images.Image> {
  const full = normalizeReference(name);
  const { compression, platform } = options;
  const call: CallOptions = { namespace: options.namespace, signal: options.signal, timeoutMs: options.timeoutMs };
  await using lease = await client.leases.with({ namespace: options.namespace });
  const leased = { ...call, lease: lease.id };
  const base = await client.images.resolve(source, { ...leased, platform });
  const { layers, config, ...others } = base.manifest;
  const diffIds = base.config.rootfs.diff_ids;
  if (layers.length !== diffIds.length) {
    throw invalidArgument(`image has ${layers.length} layers but ${diffIds.length} diff ids`);
  }
  const packed: Descriptor[] = [];
  for (const [index, layer] of layers.entries()) {
    options.onLayer?.({ digest: layer.digest, index, count: layers.length });
    packed.push(await packLayer(client, layer, diffIds[index] ?? '', compression, leased));
  }
  const configBlob = { ...config, mediaType: mediaTypes.config };
  const manifest = { ...others, mediaType: mediaTypes.manifest, config: configBlob, layers: packed };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const target: Descriptor = { mediaType: mediaTypes.manifest, digest: digestOf(bytes), size: bytes.length };
  const expected = { expected: target.digest, sizeBytes: BigInt(bytes.length) };
  await client.content.write([bytes], { ...leased, ref: `convert-${randomUUID()}`, ...expected });
  const references = packed.map(({ digest }, index) => [`containerd.io/gc.ref.content.l.${index}`, digest]);
  await client.content.setLabels(
    target.digest,
    { 'containerd.io/gc.ref.content.config': config.digest, ...Object.fromEntries(references) },
    leased,
  );
  return await client.images.put(full, target, { ...leased, platform });
}

/** The layer packed as wanted, stored. */
async function packLayer(
  client: Client,
  layer: Descriptor,
  diffId: string,
  compression: LayerCompression,
  leased: CallOptions,
): Promise<Descriptor> {
  const kind = layerMediaType(layer.mediaType);
  if (kind === undefined) throw invalidArgument(`layer ${layer.digest} of type ${JSON.stringify(layer.mediaType)}`);
  const { annotations } = layer;
  const kept = annotations === undefined ? {} : { annotations };
  if (kind.compression === compression) return { ...layer, mediaType: types[compression] };
  const hash = createHash('sha256');
  const plain = checked(unpacked(client.content.read(layer.digest, leased)), hash, layer.digest, diffId);
  const written = await client.content.write(compress(plain, compression), {
    ...leased,
    ref: `convert-${randomUUID()}`,
    labels: compression === 'none' ? {} : { 'containerd.io/uncompressed': diffId },
  });
  if (written.existed && compression !== 'none') {
    await client.content.setLabels(written.digest, { 'containerd.io/uncompressed': diffId }, leased);
  }
  return { mediaType: types[compression], digest: parseDigest(written.digest), size: Number(written.size), ...kept };
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
async function* checked(
  source: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
  digest: string,
  diffId: string,
): AsyncGenerator<Uint8Array> {
  for await (const bytes of source) {
    hash.update(bytes);
    yield bytes;
  }
  const found = finishDigest(hash);
  if (found !== diffId) throw dataLoss(`layer ${digest} is ${found} unpacked, the config says ${diffId}`);
}
