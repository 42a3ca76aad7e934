/**
 * Everything the metadata store holds, drawn as a tree. Values are bytes whose form belongs to the room that writes
 * them. Nobody spells a key himself: the builders below are used by all.
 *
 *     schema/
 *       version                                    decimal number of this layout
 *     namespaces/<namespace>                       supervisor: labels
 *     containers/<namespace>/<id>                  supervisor: the container record
 *     sandboxes/<namespace>/<id>                   supervisor: the sandbox record
 *     images/<namespace>/<name>                    supervisor: target descriptor, labels
 *     content/<namespace>/<digest>                 content: size, times, labels; the blob itself is a file
 *     far-blobs/<digest>                           content: the namespace of the other process that has the blob from us
 *     ingests/<namespace>/<ref>                    content: expected digest, total, times, expiry
 *     snapshots/<namespace>/<snapshotter>/<key>    snapshots: id, kind, parent, labels, usage
 *     snapshot-children/<namespace>/<snapshotter>/<parent>/<key>   empty; who has whom as parent
 *     snapshot-ids/<snapshotter>                   snapshots: the highest id ever given
 *     leases/<namespace>/<id>                      supervisor: labels, creation time
 *     lease-resources/<namespace>/<lease>/<type>/<id>   empty; type is content, ingests, images, snapshots/<snapshotter>
 *
 * A namespace's part of every branch is a range of its own, so listing one never touches another's.
 */
import { failedPrecondition, notFound } from '@gantry/errors';
import type { Key, Reader, Store, Transaction } from './store.ts';

/** The layout this code reads and writes. */
export const schemaVersion = 1;

const versionKey: Key = ['schema', 'version'];
const nothing = new Uint8Array(0);

/** Key builders, named after the branches of the tree. With fewer arguments they give the prefix to scan. */
export const keys = {
  namespaces: (namespace?: string): Key => path('namespaces', namespace),
  containers: (namespace?: string, id?: string): Key => path('containers', namespace, id),
  sandboxes: (namespace?: string, id?: string): Key => path('sandboxes', namespace, id),
  images: (namespace?: string, name?: string): Key => path('images', namespace, name),
  content: (namespace?: string, digest?: string): Key => path('content', namespace, digest),
  farBlobs: (digest?: string): Key => path('far-blobs', digest),
  ingests: (namespace?: string, ref?: string): Key => path('ingests', namespace, ref),
  snapshots: (namespace?: string, snapshotter?: string, key?: string): Key =>
    path('snapshots', namespace, snapshotter, key),
  snapshotChildren: (namespace?: string, snapshotter?: string, parent?: string, key?: string): Key =>
    path('snapshot-children', namespace, snapshotter, parent, key),
  snapshotIds: (snapshotter?: string): Key => path('snapshot-ids', snapshotter),
  leases: (namespace?: string, id?: string): Key => path('leases', namespace, id),
  leaseResources: (namespace?: string, lease?: string, type?: string, id?: string): Key =>
    path('lease-resources', namespace, lease, type, id),
} as const;

/** What a lease can hold; for snapshots the snapshotter is part of the type. */
export const leaseResourceTypes = {
  content: 'content',
  ingests: 'ingests',
  images: 'images',
  snapshots: (snapshotter: string): string => `snapshots/${snapshotter}`,
} as const;

/**
 * Makes a lease hold a resource, within the transaction that makes or finds the resource. Idempotent; does nothing when
 * `lease` is undefined or ''. Throws not found when there is no such lease.
 */
export function addLeaseResource(
  tx: Transaction,
  namespace: string,
  lease: string | undefined,
  type: string,
  id: string,
): void {
  if (lease === undefined || lease === '') return;
  requireLease(tx, namespace, lease);
  tx.put(keys.leaseResources(namespace, lease, type, id), nothing);
}

/** Undoes `addLeaseResource`. Nothing happens when the lease does not hold it or does not exist. */
export function removeLeaseResource(
  tx: Transaction,
  namespace: string,
  lease: string | undefined,
  type: string,
  id: string,
): void {
  if (lease === undefined || lease === '') return;
  tx.delete(keys.leaseResources(namespace, lease, type, id));
}

/** Throws not found when a lease was named and does not exist. */
export function requireLease(reader: Reader, namespace: string, lease: string | undefined): void {
  if (lease === undefined || lease === '') return;
  if (reader.get(keys.leases(namespace, lease)) === undefined) throw notFound('lease does not exist', { lease });
}

/** Writes the version into a new store; throws failed precondition when the store is of another version. */
export async function claimSchema(store: Store): Promise<void> {
  const found = store.get(versionKey);
  if (found === undefined) {
    await store.transact((tx) => tx.put(versionKey, Buffer.from(String(schemaVersion))));
    return;
  }
  const text = Buffer.from(found).toString('latin1');
  if (text !== String(schemaVersion)) {
    throw failedPrecondition(`metadata store has layout ${JSON.stringify(text)}, this build reads ${schemaVersion}`);
  }
}

function path(...components: readonly (string | undefined)[]): Key {
  const end = components.indexOf(undefined);
  return components.slice(0, end === -1 ? components.length : end).filter((part) => part !== undefined);
}
