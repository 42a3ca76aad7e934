/**
 * What is different for a snapshotter in another process: which labels concern it, what its own labels are, and what a crash
 * of ours left there.
 */
import { isCode, messageOf } from '@gantry/errors';
import { keys } from '@gantry/store';
import type { Labels, Store } from '@gantry/store';
import { decodeSnapshot } from './records.ts';
import type { SnapshotInfo } from './snapshot.ts';
import { isRemote } from './snapshotter.ts';
import type { RemoteSnapshotter, Snapshotter } from './snapshotter.ts';

const referenceLabel = 'containerd.io/snapshot.ref';
const inheritedPrefix = 'containerd.io/snapshot/';

/** Of a snapshot's labels those that a snapshotter in another process is told. */
export function inheritedLabels(labels: Labels): Labels {
  return Object.fromEntries(
    Object.entries(labels).filter(([label]) => label === referenceLabel || label.startsWith(inheritedPrefix)),
  );
}

/** What is known of a snapshot, with the labels that a snapshotter in another process gives it. Ours win. */
export async function withOwnLabels(backend: Snapshotter, id: string, info: SnapshotInfo): Promise<SnapshotInfo> {
  if (!isRemote(backend)) return info;
  return { ...info, labels: { ...(await backend.labelsOf(id)), ...info.labels } };
}

/** Removes a tree that no record speaks of. When that fails, another start does it. */
export async function discardTree(backend: Snapshotter, id: string, onError: (text: string) => void): Promise<void> {
  try {
    await backend.remove(id);
  } catch (err) {
    if (!isRemote(backend)) throw err;
    if (!isCode(err, 'not found')) onError(`removing ${JSON.stringify(id)} from ${backend.name}: ${messageOf(err)}`);
  }
}

/**
 * Removes the trees of numbers up to `highest`, which an earlier run made, that no record speaks of; children before their
 * parents. What cannot be removed stays.
 */
export async function removeLeftovers(store: Store, backend: RemoteSnapshotter, highest: number): Promise<void> {
  if (highest === 0) return;
  for (const { key } of store.scan(keys.namespaces())) {
    const left = await backend.listIn(key.at(-1) ?? '');
    const isLeft = (id: string): boolean => {
      const number = backend.numberOf(id);
      return number !== undefined && number <= highest && !known(store, backend.name).has(id);
    };
    const byNumber = (a: string, b: string): number => (backend.numberOf(b) ?? 0) - (backend.numberOf(a) ?? 0);
    for (const id of left.filter(isLeft).toSorted(byNumber)) {
      if (isLeft(id)) await backend.remove(id).catch(() => undefined);
    }
  }
}

function known(store: Store, snapshotter: string): Set<string> {
  const ids = new Set<string>();
  for (const { key, value } of store.scan(keys.snapshots())) {
    if (key[2] === snapshotter) ids.add(decodeSnapshot(key.at(-1) ?? '', value).id);
  }
  return ids;
}
