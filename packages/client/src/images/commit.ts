/** A container as an image: its image, the layer of what it has changed, and changes of how it is to be run. */
import { randomUUID } from 'node:crypto';
import type { images } from '@gantry/api';
import { invalidArgument, isCode } from '@gantry/errors';
import { digestOf, mediaTypes, normalizeReference, parseDigest } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import type { Client } from '../client.ts';
import { makeDiff } from '../services/snapshots.ts';
import { statusName } from '../tasks/status.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { withMounts } from './changes.ts';

/** Changes the `config` member of an image's config: how it is run. */
export type RunConfigChange = (run: Record<string, unknown>) => void;

export interface CommitOptions extends CallOptions {
  readonly author?: string | undefined;
  readonly message?: string | undefined;
  readonly changes?: readonly RunConfigChange[] | undefined;
  /** Default true: a container that runs stands still meanwhile, so that its files agree with each other. */
  readonly pause?: boolean | undefined;
}

const refLabel = 'containerd.io/gc.ref.content';

/**
 * Makes the image and gives it the name, moving a name that exists. Throws not found (container, image), invalid argument
 * (name).
 */
export async function commitContainer(
  client: Client,
  containerId: string,
  name: string,
  options: CommitOptions = {},
): Promise<images.Image> {
  const full = normalizeReference(name);
  const call: CallOptions = { namespace: options.namespace, signal: options.signal, timeoutMs: options.timeoutMs };
  const container = await client.containers.get(containerId, call);
  await using lease = await client.leases.with({ namespace: options.namespace });
  const leased = { ...call, lease: lease.id };
  const base = await client.images.documents(container.image, leased);
  const layer = await whileStill(client, containerId, options.pause ?? true, call, async () =>
    withMounts(client, containerId, leased, async ({ parent, own }) =>
      makeDiff(client.transport, parent, own, { ...leased, mediaType: mediaTypes.layerGzip }),
    ),
  );
  const { labels } = await client.content.info(layer.digest, leased);
  const isDocker = base.manifest.mediaType === mediaTypes.dockerManifest;
  const types = isDocker ? dockerTypes : ociTypes;
  const config = newConfig(base.configBytes, labels['containerd.io/uncompressed'] ?? '', options);
  const configBlob = await store(client, config, types.config, leased);
  const added: Descriptor = { mediaType: types.layer, digest: parseDigest(layer.digest), size: Number(layer.size) };
  const layers = [...base.manifest.layers, added];
  const manifest = { schemaVersion: 2, mediaType: types.manifest, config: configBlob, layers };
  const target = await store(client, Buffer.from(JSON.stringify(manifest)), types.manifest, leased);
  const references = layers.map(({ digest }, index) => [`${refLabel}.l.${index}`, digest]);
  await client.content.setLabels(
    target.digest,
    { [`${refLabel}.config`]: configBlob.digest, ...Object.fromEntries(references) },
    leased,
  );
  return await client.images.put(full, target, { ...leased, snapshotter: container.snapshotter });
}

/** An image stays what its base is: some readers do not take a mixture. */
const ociTypes = { manifest: mediaTypes.manifest, config: mediaTypes.config, layer: mediaTypes.layerGzip } as const;
const dockerTypes = {
  manifest: mediaTypes.dockerManifest,
  config: mediaTypes.dockerConfig,
  layer: mediaTypes.dockerLayerGzip,
} as const;

/** Pauses a container that runs while `work` looks at its files. */
async function whileStill<T>(
  client: Client,
  containerId: string,
  wanted: boolean,
  call: CallOptions,
  work: () => Promise<T>,
): Promise<T> {
  if (!wanted || !(await isRunning(client, containerId, call))) return work();
  await client.tasks.pause(containerId, call);
  try {
    return await work();
  } finally {
    // Without the caller's signal: nobody else would let it go on.
    await client.tasks.resume(containerId, { namespace: call.namespace });
  }
}

async function isRunning(client: Client, containerId: string, call: CallOptions): Promise<boolean> {
  try {
    return statusName((await client.tasks.get(containerId, '', call)).status) === 'running';
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}

/** The old config with members that nobody here knows, and one layer more. */
function newConfig(bytes: Buffer, diffId: string, { author, message, changes = [] }: CommitOptions): Buffer {
  const config: unknown = JSON.parse(bytes.toString('utf8'));
  if (!isObject(config)) throw invalidArgument('the config of the image is no object');
  const created = new Date().toISOString();
  const rootfs = isObject(config['rootfs']) ? config['rootfs'] : {};
  const diffIds: unknown[] = Array.isArray(rootfs['diff_ids']) ? rootfs['diff_ids'] : [];
  const history: unknown[] = Array.isArray(config['history']) ? config['history'] : [];
  const run = isObject(config['config']) ? { ...config['config'] } : {};
  for (const change of changes) change(run);
  const signed = author === undefined ? {} : { author };
  const step = {
    created,
    created_by: 'gantry commit',
    ...signed,
    ...(message === undefined ? {} : { comment: message }),
  };
  return Buffer.from(
    JSON.stringify({
      ...config,
      created,
      ...signed,
      config: run,
      rootfs: { type: 'layers', diff_ids: [...diffIds, diffId] },
      history: [...history, step],
    }),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function store(client: Client, bytes: Buffer, mediaType: string, leased: CallOptions): Promise<Descriptor> {
  const digest = digestOf(bytes);
  const sizeBytes = BigInt(bytes.length);
  await client.content.write([bytes], { ...leased, ref: `commit-${randomUUID()}`, expected: digest, sizeBytes });
  return { mediaType, digest, size: bytes.length };
}
