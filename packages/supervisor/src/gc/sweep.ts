/** Sweeping: garbage leaves the metadata in one transaction, then the disk. */
import { events, images } from '@gantry/api';
import type { ContentStore } from '@gantry/content';
import type { SnapshotStore } from '@gantry/snapshots';
import { RecordReader } from '@gantry/store';
import type { Transaction } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { deleteLease } from '../services/leases.ts';
import { keyOf, node } from './graph.ts';
import type { NodeId } from './graph.ts';

/** What the transaction took away and what is left to be done for it outside. */
export interface Swept {
  readonly content: { readonly namespace: string; readonly digest: string }[];
  readonly snapshots: {
    readonly namespace: string;
    readonly snapshotter: string;
    readonly key: string;
    readonly treeId: string;
  }[];
  readonly images: { readonly namespace: string; readonly name: string }[];
  readonly leases: { readonly namespace: string; readonly id: string }[];
  /** Still to be aborted: their records go together with their files. */
  readonly ingests: { readonly namespace: string; readonly ref: string }[];
  /** What could not be removed; the rest was. */
  readonly errors: unknown[];
}

type Components = {
  readonly content: Pick<ContentStore, 'deleteIn'>;
  readonly snapshots: Pick<SnapshotStore, 'removeIn' | 'snapshotters'>;
};

/** Removes the records of garbage. An object that cannot be removed is left, with its error, and does not stop the rest. */
export function sweep(tx: Transaction, garbage: readonly NodeId[], { content, snapshots }: Components): Swept {
  const swept: Swept = { content: [], snapshots: [], images: [], leases: [], ingests: [], errors: [] };
  const loaded = new Set(snapshots.snapshotters.map(({ name }) => name));
  const doomedSnapshots: NodeId[] = [];
  for (const id of garbage) {
    const [branch = '', namespace = '', name = ''] = keyOf(id);
    switch (branch) {
      case 'content':
        attempt(swept, () => {
          content.deleteIn(tx, namespace, name);
          swept.content.push({ namespace, digest: name });
        });
        break;
      case 'images':
        tx.delete(keyOf(id));
        swept.images.push({ namespace, name });
        break;
      case 'leases':
        deleteLease(tx, namespace, name);
        swept.leases.push({ namespace, id: name });
        break;
      case 'ingests':
        swept.ingests.push({ namespace, ref: name });
        break;
      case 'snapshots':
        // Nobody can remove the tree of a snapshotter that is not loaded, so its record stays.
        if (loaded.has(name)) doomedSnapshots.push(id);
        break;
    }
  }
  for (const id of leavesFirst(tx, doomedSnapshots)) {
    const [, namespace = '', snapshotter = '', key = ''] = keyOf(id);
    attempt(swept, () => {
      const treeId = snapshots.removeIn(tx, namespace, snapshotter, key);
      swept.snapshots.push({ namespace, snapshotter, key, treeId });
    });
  }
  return swept;
}

/** Tells everybody what went. */
export function announce(publisher: Publisher, swept: Swept): void {
  for (const { namespace, digest } of swept.content) {
    publisher.publish(namespace, '/content/delete', events.ContentDelete, { digest });
  }
  for (const { namespace, key, snapshotter } of swept.snapshots) {
    publisher.publish(namespace, '/snapshot/remove', events.SnapshotRemove, { key, snapshotter });
  }
  for (const { namespace, name } of swept.images) {
    publisher.publish(namespace, '/images/delete', images.ImageDelete, { name });
  }
}

/** Children before their parents. A child of garbage is garbage: it would hold its parent otherwise. */
function leavesFirst(tx: Transaction, doomed: readonly NodeId[]): NodeId[] {
  const parents = new Map<NodeId, NodeId>();
  const children = new Map<NodeId, number>(doomed.map((id) => [id, 0]));
  for (const id of doomed) {
    const [, namespace = '', snapshotter = '', key = ''] = keyOf(id);
    const bytes = tx.get(keyOf(id));
    const parent = bytes === undefined ? '' : new RecordReader(`snapshot ${JSON.stringify(key)}`, bytes).text('parent');
    if (parent === '') continue;
    const parentId = node.snapshot(namespace, snapshotter, parent);
    parents.set(id, parentId);
    const count = children.get(parentId);
    if (count !== undefined) children.set(parentId, count + 1);
  }
  const order = doomed.filter((id) => children.get(id) === 0);
  // Grows while it is walked: a parent joins when its last child has.
  for (const id of order) {
    const parent = parents.get(id);
    const left = parent === undefined ? undefined : children.get(parent);
    if (parent === undefined || left === undefined) continue;
    children.set(parent, left - 1);
    if (left === 1) order.push(parent);
  }
  return order;
}

function attempt(swept: Swept, remove: () => void): void {
  try {
    remove();
  } catch (err) {
    swept.errors.push(err);
  }
}
