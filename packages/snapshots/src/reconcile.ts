/** Comparing the snapshots' records with the trees on disk, at start. */
import { keys } from '@gantry/store';
import type { Store } from '@gantry/store';
import { decodeSnapshot } from './records.ts';
import type { SnapshotReport } from './snapshot.ts';
import type { Snapshotter } from './snapshotter.ts';

/** See `SnapshotReport`. A record without its tree stays, so that the loss is visible and the client can remove it. */
export async function reconcileSnapshots(
  store: Store,
  snapshotters: ReadonlyMap<string, Snapshotter>,
): Promise<SnapshotReport> {
  const broken: string[] = [];
  const removed: string[] = [];
  const unknown: string[] = [];
  const trees = new Map<string, ReadonlySet<string>>();
  const known = new Map<string, Set<string>>();
  for (const [name, snapshotter] of snapshotters) {
    trees.set(name, new Set(await snapshotter.list()));
    known.set(name, new Set());
  }
  for (const { key, value } of store.scan(keys.snapshots())) {
    const [, namespace = '', snapshotter = '', name = ''] = key;
    const { id } = decodeSnapshot(name, value);
    const place = `${namespace}/${snapshotter}/${name}`;
    known.get(snapshotter)?.add(id);
    const onDisk = trees.get(snapshotter);
    if (onDisk === undefined) unknown.push(place);
    else if (!onDisk.has(id)) broken.push(place);
  }
  for (const [name, snapshotter] of snapshotters) {
    for (const id of trees.get(name) ?? []) {
      if (known.get(name)?.has(id) === true) continue;
      await snapshotter.remove(id);
      removed.push(`${name}/${id}`);
    }
  }
  return { broken, removed, unknown };
}
