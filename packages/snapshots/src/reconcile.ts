/** Comparing the snapshots' records with the trees on disk, at start. */
import { keys } from '@gantry/store';
import type { Key, Store } from '@gantry/store';
import { decodeSnapshot, encodeSnapshot } from './records.ts';
import type { SnapshotRecord } from './records.ts';
import type { SnapshotReport } from './snapshot.ts';
import { isRemote } from './snapshotter.ts';
import type { Snapshotter } from './snapshotter.ts';

interface Found {
  readonly key: Key;
  readonly name: string;
  readonly record: SnapshotRecord;
}

/** What is to be told, and the records whose sync is to be made up for. */
export type ReconciledSnapshots = SnapshotReport & { readonly unsynced: readonly Key[] };

/**
 * See `SnapshotReport`. A record without its tree stays, so that the loss is visible and the client can remove it; except
 * after a power cut, which takes what nobody had promised to be on the disk.
 */
export async function reconcileSnapshots(
  store: Store,
  snapshotters: ReadonlyMap<string, Snapshotter>,
  boot: string,
): Promise<ReconciledSnapshots> {
  const broken: string[] = [];
  const removed: string[] = [];
  const unknown: string[] = [];
  const remade: string[] = [];
  const unsynced: Key[] = [];
  const doubtful: Found[] = [];
  const trees = new Map<string, ReadonlySet<string>>();
  const known = new Map<string, Set<string>>();
  const local = [...snapshotters].filter(([, snapshotter]) => !isRemote(snapshotter));
  for (const [name, snapshotter] of local) {
    trees.set(name, new Set(await snapshotter.list()));
    known.set(name, new Set());
  }
  for (const { key, value } of store.scan(keys.snapshots())) {
    const [, , snapshotter = '', name = ''] = key;
    const record = decodeSnapshot(name, value);
    known.get(snapshotter)?.add(record.id);
    const onDisk = trees.get(snapshotter);
    const found = { key, name, record };
    if (record.kind === 'committed') snapshotters.get(snapshotter)?.thin?.(record.id);
    if (onDisk === undefined) {
      if (!snapshotters.has(snapshotter)) unknown.push(placeOf(key));
    } else if (record.unsynced === boot) unsynced.push(key);
    else if (record.unsynced !== undefined) doubtful.push(found);
    else if (!onDisk.has(record.id) && !(await remake(store, snapshotters, found, remade))) broken.push(placeOf(key));
  }
  const lost = await judge(store, snapshotters, doubtful, known);
  for (const [name, snapshotter] of local) {
    for (const id of trees.get(name) ?? []) {
      if (known.get(name)?.has(id) === true) continue;
      await snapshotter.remove(id);
      removed.push(`${name}/${id}`);
    }
  }
  return { broken, removed, unknown, remade, lost, unsynced };
}

/** An active snapshot or a view whose directory had not reached the disk begins again. False: it cannot. */
async function remake(
  store: Store,
  snapshotters: ReadonlyMap<string, Snapshotter>,
  { key, record }: Found,
  remade: string[],
): Promise<boolean> {
  const [, namespace = '', snapshotter = ''] = key;
  const { kind, id, labels } = record;
  if (kind === 'committed') return false;
  const parents: string[] = [];
  for (let name = record.parent; name !== '';) {
    const bytes = store.get(keys.snapshots(namespace, snapshotter, name));
    if (bytes === undefined) return false;
    const parent = decodeSnapshot(name, bytes);
    parents.push(parent.id);
    name = parent.parent;
  }
  await snapshotters.get(snapshotter)?.create({ id, kind, labels, parents });
  remade.push(placeOf(key));
  return true;
}

/** Counts the trees that a power cut may have hit. Whole ones are good from now on; others go, unless they are built on. */
async function judge(
  store: Store,
  snapshotters: ReadonlyMap<string, Snapshotter>,
  doubtful: readonly Found[],
  known: ReadonlyMap<string, Set<string>>,
): Promise<string[]> {
  const bad: Found[] = [];
  for (const found of doubtful) {
    const { key, name, record } = found;
    const backend = snapshotters.get(key[2] ?? '');
    const now = await backend?.usage(record.id, [], 'committed');
    const isWhole = now?.inodes === record.usage?.inodes && now?.fileBytes === record.usage?.fileBytes;
    if (!isWhole) bad.push(found);
    await store.transact((tx) => {
      const bytes = tx.get(key);
      if (bytes === undefined) return;
      const current = decodeSnapshot(name, bytes);
      tx.put(key, encodeSnapshot({ ...current, unsynced: undefined, damaged: !isWhole }));
    });
  }
  // Children before their parents, round after round, until nothing more can go.
  let left = bad;
  for (let before = -1; before !== left.length;) {
    before = left.length;
    const stay: Found[] = [];
    for (const found of left) if (!(await drop(store, found, known))) stay.push(found);
    left = stay;
  }
  return bad.map(({ key }) => placeOf(key));
}

async function drop(
  store: Store,
  { key, name, record }: Found,
  known: ReadonlyMap<string, Set<string>>,
): Promise<boolean> {
  const [, namespace = '', snapshotter = ''] = key;
  const gone = await store.transact((tx) => {
    const [child] = tx.scan(keys.snapshotChildren(namespace, snapshotter, name), { limit: 1 });
    if (child !== undefined) return false;
    tx.delete(key);
    if (record.parent !== '') tx.delete(keys.snapshotChildren(namespace, snapshotter, record.parent, name));
    return true;
  });
  if (gone) known.get(snapshotter)?.delete(record.id);
  return gone;
}

function placeOf(key: Key): string {
  return key.slice(1).join('/');
}
