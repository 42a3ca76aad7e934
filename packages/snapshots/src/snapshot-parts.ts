/** What the steps of a snapshot's life work on; `SnapshotStore` owns it. */
import type { Store } from '@gantry/store';
import type { Chains } from './chains.ts';
import type { DoomedTrees } from './doomed-trees.ts';
import type { SyncQueue } from './durability.ts';
import type { TreeIds } from './tree-ids.ts';

export interface SnapshotParts {
  readonly store: Store;
  readonly chains: Chains;
  readonly ids: TreeIds;
  readonly doomed: DoomedTrees;
  /** By snapshotter; none for those in other processes. */
  readonly syncs: ReadonlyMap<string, SyncQueue>;
  /** The running boot. */
  readonly boot: string;
}
