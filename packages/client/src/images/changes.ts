/** What a container has changed in its file system: the difference of its snapshot to its image. */
import { readTar } from '@gantry/archive';
import type { types } from '@gantry/api';
import { linux } from '@gantry/libc';
import { mediaTypes } from '@gantry/oci';
import type { Client } from '../client.ts';
import { makeDiff } from '../services/snapshots.ts';
import { existsInLayers, layerDirectories } from '../spec/layered-root.ts';
import type { CallOptions } from '../transport/call-options.ts';

/** One changed path, as in the container. */
export interface FileChange {
  readonly kind: 'added' | 'changed' | 'deleted';
  readonly path: string;
}

const whiteout = '.wh.';
const opaque = '.wh..wh..opq';

/** In the order of the paths. Throws not found (container, snapshot). Needs to be where the supervisor is, as root. */
export async function containerChanges(
  client: Client,
  containerId: string,
  options: CallOptions = {},
): Promise<FileChange[]> {
  await using lease = await client.leases.with({ namespace: options.namespace });
  const leased = { ...options, lease: lease.id };
  return await withMounts(client, containerId, leased, async ({ parent, own }) => {
    const layer = await makeDiff(client.transport, parent, own, { ...leased, mediaType: mediaTypes.layer });
    const below = layerDirectories(parent);
    const changes: FileChange[] = [];
    for await (const { header } of readTar(client.content.read(layer.digest, leased))) {
      const path = `/${header.name.toString().replace(/\/+$/, '')}`;
      const slash = path.lastIndexOf('/');
      const name = path.slice(slash + 1);
      if (name === opaque) continue;
      if (name.startsWith(whiteout)) {
        changes.push({ kind: 'deleted', path: path.slice(0, slash + 1) + name.slice(whiteout.length) });
      } else {
        changes.push({ kind: existsInLayers(linux, below, path) ? 'changed' : 'added', path });
      }
    }
    return changes.sort((a, b) => (a.path < b.path ? -1 : 1));
  });
}

/** The mounts of a container's snapshot, and those of a view of what it is based on, which goes afterwards. */
export async function withMounts<T>(
  { containers, snapshots }: Pick<Client, 'containers' | 'snapshots'>,
  containerId: string,
  options: CallOptions,
  use: (mounts: { readonly parent: types.Mount[]; readonly own: types.Mount[] }) => Promise<T>,
): Promise<T> {
  const { snapshotter, snapshotKey } = await containers.get(containerId, options);
  const store = snapshots.of(snapshotter);
  const { parent } = await store.stat(snapshotKey, options);
  const own = await store.mounts(snapshotKey, options);
  const view = `view-${process.hrtime.bigint()} ${containerId}`;
  const below = await store.view(view, parent, options);
  try {
    return await use({ parent: below, own });
  } finally {
    await store.remove(view, { namespace: options.namespace });
  }
}
