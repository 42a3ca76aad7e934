/** An image for several platforms as registries have them: Docker's words, a layer that all share, an attestation, a nested index. */
import { gzipSync } from 'node:zlib';
import { images } from '@gantry/api';
import type { Client } from '@gantry/client';
import { hostPlatform, mediaTypes, parseIndex } from '@gantry/oci';
import type { Descriptor, Index } from '@gantry/oci';
import { busyboxLayer, sha256, tar } from './tarball.ts';

export const host = hostPlatform();
/** Another one of the same index. */
export const other = { os: 'linux', architecture: host.architecture === 'amd64' ? 'arm64' : 'amd64' };
/** The one of the nested index. */
export const third = { os: 'linux', architecture: 's390x' };
export const manyPlatforms = 'docker.io/library/many:1';

interface Blob {
  readonly descriptor: Record<string, unknown> & { readonly digest: string; readonly size: number };
  readonly bytes: Buffer;
  readonly labels: Record<string, string>;
}

export interface PlatformGraph {
  /** Children first. */
  readonly blobs: readonly Blob[];
  readonly top: Blob;
  /** Digest of the layer that all share. */
  readonly shared: string;
}

/** `/etc/of` of each image says which one it is. The same whenever it is made. */
export function platformGraph(): PlatformGraph {
  const base = busyboxLayer();
  const shared = blob(mediaTypes.dockerLayerGzip, gzipSync(base));
  const [here, there, far] = [host, other, third].map((platform) => image(platform, base, shared)) as [
    Blob[],
    Blob[],
    Blob[],
  ];
  const proof = attestation(last(here));
  const inner = index([placed(far, third)]);
  const top = index([placed(here, host), placed(there, other), last(proof), inner]);
  const blobs = [shared, ...here, ...there, ...far, ...proof, inner, top];
  return { blobs, top, shared: shared.descriptor.digest };
}

/** Stores it under the name `manyPlatforms`. */
export async function putPlatforms(client: Client): Promise<PlatformGraph> {
  const graph = platformGraph();
  await using lease = await client.leases.with();
  for (const { descriptor, bytes, labels } of graph.blobs) {
    const options = { ref: descriptor.digest, expected: descriptor.digest, labels, lease: lease.id };
    await client.content.write([bytes], options);
  }
  const { digest, size } = graph.top.descriptor;
  const target = { mediaType: mediaTypes.index, digest, size: BigInt(size) };
  const { ImagesService: service } = images;
  await client.transport.unary(service, service.methods.create, { image: { name: manyPlatforms, target } });
  return graph;
}

export const storedDocument = (client: Client, digest: string): Promise<Buffer> =>
  client.content.readAll(digest, 1_000_000);

export const storedIndex = async (client: Client, digest: string): Promise<Index> =>
  parseIndex(await storedDocument(client, digest));

/** The images below an index, as deep as they are. */
export async function imagesBelow(client: Client, above: Index): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  for (const entry of above.manifests) {
    if (entry.mediaType !== mediaTypes.index) found.push(entry);
    else found.push(...(await imagesBelow(client, await storedIndex(client, entry.digest))));
  }
  return found;
}

function blob(mediaType: string, content: Buffer | object, refs: readonly (readonly [string, Blob])[] = []): Blob {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const labels = Object.fromEntries(
    refs.map(([name, { descriptor }]) => [`containerd.io/gc.ref.content.${name}`, descriptor.digest]),
  );
  return { descriptor: { mediaType, digest: sha256(bytes), size: bytes.length }, bytes, labels };
}

function manifest(mediaType: string, config: Blob, layers: readonly Blob[]): Blob {
  const refs = layers.map((layer, at) => [`l.${at}`, layer] as const);
  const document = {
    schemaVersion: 2,
    mediaType,
    config: config.descriptor,
    layers: layers.map(({ descriptor }) => descriptor),
  };
  return blob(mediaType, document, [['config', config], ...refs]);
}

function index(entries: readonly Blob[]): Blob {
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: entries.map(({ descriptor }) => descriptor),
  };
  return blob(
    mediaTypes.index,
    document,
    entries.map((entry, at) => [`m.${at}`, entry]),
  );
}

/** An image in Docker's words: the layer that all have and one of its own. */
function image(platform: { readonly os: string; readonly architecture: string }, base: Buffer, shared: Blob): Blob[] {
  const layer = tar([{ name: 'etc/of', body: platform.architecture }]);
  const config = blob(mediaTypes.dockerConfig, {
    ...platform,
    config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [sha256(base), sha256(layer)] },
  });
  const own = blob(mediaTypes.dockerLayerGzip, gzipSync(layer));
  return [own, config, manifest(mediaTypes.dockerManifest, config, [shared, own])];
}

/** What buildx puts beside an image. */
function attestation(about: Blob): Blob[] {
  const statement = blob(mediaTypes.inToto, { _type: 'https://in-toto.io/Statement/v0.1', subject: [] });
  const unknown = { os: 'unknown', architecture: 'unknown' };
  const rootfs = { type: 'layers', diff_ids: [statement.descriptor.digest] };
  const config = blob(mediaTypes.config, { ...unknown, config: {}, rootfs });
  const made = manifest(mediaTypes.manifest, config, [statement]);
  const annotations = {
    'vnd.docker.reference.digest': about.descriptor.digest,
    'vnd.docker.reference.type': 'attestation-manifest',
  };
  return [statement, config, { ...made, descriptor: { ...made.descriptor, annotations, platform: unknown } }];
}

const last = (blobs: readonly Blob[]): Blob => blobs[blobs.length - 1] as Blob;

const placed = (blobs: readonly Blob[], platform: object): Blob => ({
  ...last(blobs),
  descriptor: { ...last(blobs).descriptor, platform },
});
