/**
 * Making an active snapshot or a view: the tree first, then its record, so that a crash leaves at most a tree that no record
 * speaks of.
 */
import { alreadyExists, failpoint, isCode } from '@gantry/errors';
import { gidMappingLabel, idMapsOfLabels, uidMappingLabel } from '@gantry/oci';
import { addLeaseResource, keys, leaseResourceTypes, presentLabels, requireLease } from '@gantry/store';
import type { Labels, Store } from '@gantry/store';
import { committedRecord } from './chains.ts';
import { leaseExisting, madeNow, mustNotBeEmpty, putRecord } from './record-access.ts';
import { decodeSnapshot } from './records.ts';
import { inheritedLabels } from './remote.ts';
import type { Mount, PrepareOptions, SnapshotKind } from './snapshot.ts';
import type { SnapshotParts } from './snapshot-parts.ts';
import { isRemote } from './snapshotter.ts';
import type { Snapshotter } from './snapshotter.ts';

/** Label of an unpacking client: the name the snapshot is going to be committed to. */
const targetLabel = 'containerd.io/snapshot.ref';

/** The guarantees of `SnapshotStore.prepare` and `view`. */
export async function prepareSnapshot(
  parts: SnapshotParts,
  backend: Snapshotter,
  namespace: string,
  kind: Exclude<SnapshotKind, 'committed'>,
  options: PrepareOptions,
): Promise<Mount[]> {
  const { chains, doomed, ids, store } = parts;
  const { name: snapshotter } = backend;
  const { key, parent = '', lease } = options;
  mustNotBeEmpty(key, 'key');
  const labels = labelsToKeep(options.labels ?? {});
  if (!isRemote(backend)) idMapsOfLabels(labels);
  const target = labels[targetLabel];
  const existing = await findExisting(store, namespace, snapshotter, { key, target, lease });
  if (existing !== undefined) throw alreadyExists(`snapshot ${JSON.stringify(existing)}`, { snapshot: existing });
  const parents = chains.below(store, namespace, snapshotter, parent);
  const number = isRemote(backend) ? await ids.nextDurable(snapshotter) : ids.next(snapshotter);
  const id = isRemote(backend) ? backend.idOf(namespace, number, key) : String(number);
  const given = isRemote(backend) ? inheritedLabels(labels) : labels;
  const request = { id, kind, labels: given, parents };
  try {
    await backend.create(request);
  } catch (err) {
    if (target === undefined || !isRemote(backend) || !isCode(err, 'already exists')) throw err;
    // A lazy snapshotter has made it by itself.
    const found = await backend.find(namespace, target, parents[0]);
    if (found === undefined) throw err;
    await adopt(store, namespace, snapshotter, { id: found, name: target, parent, labels, lease });
    throw alreadyExists(`snapshot ${JSON.stringify(target)}`, { snapshot: target });
  }
  try {
    await failpoint('snapshot.prepare.after-tree');
    await store.transact((tx) => {
      if (tx.get(keys.snapshots(namespace, snapshotter, key)) !== undefined) {
        throw alreadyExists(`snapshot ${JSON.stringify(key)}`, { snapshot: key });
      }
      // It may have been removed meanwhile; what is below it cannot be as long as it is there.
      if (parent !== '') committedRecord(tx, namespace, snapshotter, parent);
      putRecord(tx, namespace, snapshotter, key, { id, kind, parent, labels, ...madeNow(), usage: undefined });
      ids.note(tx, snapshotter, number);
      addLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), key);
    });
  } catch (err) {
    await doomed.remove(backend, id).catch(() => undefined); // what is said is why it has to go
    throw err;
  }
  return options.detached === true ? (backend.detachedMounts?.(id) ?? []) : backend.mounts(request);
}

/** A tree that a snapshotter made by itself. */
interface Adopted {
  readonly id: string;
  readonly name: string;
  readonly parent: string;
  readonly labels: Labels;
  readonly lease: string | undefined;
}

/** Records a committed tree that is there already; the lease holds it. */
async function adopt(
  store: Store,
  namespace: string,
  snapshotter: string,
  { id, name, parent, labels, lease }: Adopted,
): Promise<void> {
  await store.transact((tx) => {
    if (leaseExisting(tx, namespace, snapshotter, name, lease)) return;
    if (parent !== '') committedRecord(tx, namespace, snapshotter, parent);
    putRecord(tx, namespace, snapshotter, name, {
      id,
      kind: 'committed',
      parent,
      labels,
      ...madeNow(),
      usage: undefined,
    });
    addLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), name);
  });
}

/** What exists already, put into the lease. Costs no fsync when nothing exists. */
async function findExisting(
  store: Store,
  namespace: string,
  snapshotter: string,
  { key, target, lease }: { key: string; target: string | undefined; lease: string | undefined },
): Promise<string | undefined> {
  return store.transact((tx) => {
    requireLease(tx, namespace, lease);
    if (target !== undefined) {
      const bytes = tx.get(keys.snapshots(namespace, snapshotter, target));
      const committed = bytes !== undefined && decodeSnapshot(target, bytes).kind === 'committed';
      if (committed && leaseExisting(tx, namespace, snapshotter, target, lease)) return target;
    }
    return leaseExisting(tx, namespace, snapshotter, key, lease) ? key : undefined;
  });
}

/** Clients give a layer's annotations to the snapshot that they unpack it into, and it is not for an image to map ids. */
function labelsToKeep(given: Labels): Labels {
  const labels = presentLabels(given);
  if (labels[targetLabel] === undefined) return labels;
  const { [uidMappingLabel]: _uid, [gidMappingLabel]: _gid, ...kept } = labels;
  return kept;
}
