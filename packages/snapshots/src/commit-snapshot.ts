/** Turning an active snapshot into a committed one: its tree is frozen, then the record changes its name. */
import { alreadyExists, failpoint, notImplemented } from '@gantry/errors';
import { addLeaseResource, keys, leaseResourceTypes, presentLabels, removeLeaseResource } from '@gantry/store';
import { committedRecord } from './chains.ts';
import { activeRecord, dropRecord, leaseExisting, madeNow, mustNotBeEmpty, putRecord } from './record-access.ts';
import type { SnapshotRecord } from './records.ts';
import { inheritedLabels } from './remote.ts';
import type { CommitOptions } from './snapshot.ts';
import type { SnapshotParts } from './snapshot-parts.ts';
import { isRemote } from './snapshotter.ts';
import type { Snapshotter, TreeRequest } from './snapshotter.ts';

/** The guarantees of `SnapshotStore.commit`. */
export async function commitSnapshot(
  parts: SnapshotParts,
  backend: Snapshotter,
  namespace: string,
  options: CommitOptions,
): Promise<void> {
  const { chains, store, syncs } = parts;
  const { name: snapshotter } = backend;
  const { name, key } = options;
  mustNotBeEmpty(name, 'name');
  const taken = await store.transact((tx) => leaseExisting(tx, namespace, snapshotter, name, options.lease));
  if (taken) throw alreadyExists(`snapshot ${JSON.stringify(name)}`, { snapshot: name });
  const record = activeRecord(store, namespace, snapshotter, key);
  const { parent = record.parent } = options.parent === '' ? {} : options;
  if (parent !== record.parent) {
    if (record.parent !== '' || backend.rebase === undefined) {
      throw notImplemented(`committing snapshot ${JSON.stringify(key)} onto another parent`);
    }
    backend.rebase(record.id, chains.below(store, namespace, snapshotter, parent));
  }
  const frozen = await freeze(parts, namespace, backend, options, record);
  await failpoint('snapshot.commit.after-freeze');
  await store.transact((tx) => {
    const current = activeRecord(tx, namespace, snapshotter, key);
    if (tx.get(keys.snapshots(namespace, snapshotter, name)) !== undefined) {
      throw alreadyExists(`snapshot ${JSON.stringify(name)}`, { snapshot: name });
    }
    const labels = presentLabels(options.labels ?? {});
    // What is below it may have been removed meanwhile.
    if (parent !== '') committedRecord(tx, namespace, snapshotter, parent);
    const committed: SnapshotRecord = { ...current, kind: 'committed', parent, labels, ...madeNow(), ...frozen };
    dropRecord(tx, namespace, snapshotter, key, current);
    putRecord(tx, namespace, snapshotter, name, committed);
    const type = leaseResourceTypes.snapshots(snapshotter);
    removeLeaseResource(tx, namespace, options.lease, type, key);
    addLeaseResource(tx, namespace, options.lease, type, name);
  });
  await failpoint('snapshot.commit.after-record');
  backend.thin?.(record.id);
  if (frozen.unsynced !== undefined) syncs.get(snapshotter)?.add(keys.snapshots(namespace, snapshotter, name));
}

/** Makes an active tree ready to be a parent; gives what its record says of it from then on. */
async function freeze(
  { boot, chains, ids, store }: SnapshotParts,
  namespace: string,
  backend: Snapshotter,
  { name, labels = {} }: CommitOptions,
  record: SnapshotRecord,
): Promise<Pick<SnapshotRecord, 'id' | 'usage' | 'unsynced'>> {
  const { id } = record;
  if (isRemote(backend)) {
    const committedId = backend.idOf(namespace, await ids.nextDurable(backend.name), name);
    await backend.commitAs(id, committedId, inheritedLabels(labels));
    return { id: committedId, usage: undefined, unsynced: undefined };
  }
  const parents = chains.below(store, namespace, backend.name, record.parent);
  const request: TreeRequest = { id, kind: 'active', labels: record.labels, parents };
  const usage = await (backend.freeze?.(request) ?? backend.usage(id, parents));
  return { id, usage, unsynced: boot };
}
