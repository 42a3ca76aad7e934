/**
 * What a way of storing snapshots has to offer. It knows trees by **id** only (a decimal number, never used twice);
 * namespaces, keys, labels, leases and the state machine are `SnapshotStore`'s, in one transactional place.
 *
 * Every method may be repeated after a crash. A tree whose id has no record is removed by `SnapshotStore.reconcile`.
 * `parents` are the ids of the committed trees below, the nearest first.
 */
import type { Labels } from '@gantry/store';
import type { Mount, SnapshotKind, Usage } from './snapshot.ts';

export interface TreeRequest {
  readonly id: string;
  readonly kind: Exclude<SnapshotKind, 'committed'>;
  readonly parents: readonly string[];
  readonly labels: Labels;
}

export interface Snapshotter {
  /** The name clients know it by: `overlayfs`, `native`. */
  readonly name: string;
  /** Where its trees live; shown by introspection. */
  readonly root: string;
  /** Makes the tree; afterwards it is there whole, also after a power cut. On failure nothing is left. */
  create(request: TreeRequest): Promise<void>;
  /** How to make the tree appear. No side effects. */
  mounts(request: TreeRequest): Mount[];
  /** Puts the tree's content on stable storage and says what it takes; it is not written afterwards. */
  freeze(id: string, parents: readonly string[]): Promise<Usage>;
  /** What an active or view tree takes right now. */
  usage(id: string, parents: readonly string[]): Promise<Usage>;
  /** Makes the tree unreachable at once and deletes it in the background. Nothing happens when it is not there. */
  remove(id: string): Promise<void>;
  /** The ids of the trees on disk. Leftovers of interrupted work are deleted in the background. */
  list(): Promise<string[]>;
  /** Resolves when the background deletions are done; rejects with the first failure. */
  cleanup(): Promise<void>;
}
