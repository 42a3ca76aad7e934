/** A content store of its own, and images made of random bytes in it. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { ContentStore } from '@gantry/content';
import { isCode } from '@gantry/errors';
import { digestOf, hostPlatform, mediaTypes } from '@gantry/oci';
import type { Descriptor, Platform } from '@gantry/oci';
import { keys, memoryStore } from '@gantry/store';
import type { Store } from '@gantry/store';
import { imageContent } from '../image-content.ts';
import type { ImageContent } from '../image-content.ts';

export interface Place {
  readonly store: Store;
  readonly contentStore: ContentStore;
  readonly content: ImageContent;
  readonly root: string;
}

/** Namespace `ns`, lease `lease`. */
export async function place(directory: string, store: Store = memoryStore()): Promise<Place> {
  await store.transact((tx) => tx.put(keys.leases('ns', 'lease'), Buffer.from('{}')));
  const root = path.join(directory, 'content');
  const contentStore = new ContentStore({ root, store });
  await contentStore.reconcile();
  return { store, contentStore, root, content: imageContent({ store: contentStore, namespace: 'ns', lease: 'lease' }) };
}

export async function put({ content }: Place, bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  try {
    const writer = await content.openWriter({
      ref: descriptor.digest,
      total: BigInt(bytes.length),
      expected: descriptor.digest,
    });
    await writer.write(bytes);
    await writer.commit();
  } catch (err) {
    if (!isCode(err, 'already exists')) throw err;
  }
  return descriptor;
}

export interface MadeImage {
  readonly descriptor: Descriptor;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface ImageChoices {
  readonly layerBytes?: readonly number[];
  readonly layers?: readonly Uint8Array[];
  readonly diffIds?: readonly string[];
  readonly platform?: Platform;
  readonly manifest?: Readonly<Record<string, unknown>>;
  readonly layerType?: string;
}

/** An image whose layers need not be archives: registries do not look. */
export async function putImage(where: Place, choices: ImageChoices = {}): Promise<MadeImage> {
  const blobs = choices.layers ?? (choices.layerBytes ?? [100_000, 50_000]).map((size) => randomBytes(size));
  const layers: Descriptor[] = [];
  for (const blob of blobs) layers.push(await put(where, blob, choices.layerType ?? mediaTypes.layerGzip));
  const config = await put(
    where,
    Buffer.from(
      JSON.stringify({
        ...(choices.platform ?? hostPlatform()),
        config: {},
        rootfs: { type: 'layers', diff_ids: choices.diffIds ?? blobs.map((blob) => digestOf(blob)) },
      }),
    ),
    mediaTypes.config,
  );
  const document = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers, ...choices.manifest };
  const descriptor = await put(where, Buffer.from(JSON.stringify(document)), mediaTypes.manifest);
  return { descriptor, config, layers };
}

export async function putIndex(where: Place, manifests: readonly Descriptor[]): Promise<Descriptor> {
  const document = { schemaVersion: 2, mediaType: mediaTypes.index, manifests };
  return put(where, Buffer.from(JSON.stringify(document)), mediaTypes.index);
}

/** Digests of the namespace's blobs. */
export function digestsIn({ contentStore }: Place): string[] {
  return [...contentStore.list('ns')].map(({ digest }) => digest).sort();
}

/** Refs of what is half-made. */
export async function ingestsIn({ contentStore }: Place): Promise<string[]> {
  const refs: string[] = [];
  for await (const { ref } of contentStore.statuses('ns')) refs.push(ref);
  return refs;
}
