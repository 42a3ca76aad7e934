/**
 * What a way of storing snapshots has to offer. It knows trees by **id** only (a decimal number, never used twice);
 * namespaces, keys, labels, leases and the state machine are `SnapshotStore`'s, in one transactional place.
 *
 * Every method may be repeated after a crash. A tree whose id has no record is removed by `SnapshotStore.reconcile`.
 * `parents` are the ids of the committed trees below, the nearest first.
 */
import type { Labels } from '@gantry/store';
import type { Mount, SnapshotKind, Usage } from './snapshot.ts';

/** Beside what clients see: the lengths of all files together, which tell whether a tree survived a power cut. */
export interface TreeUsage extends Usage {
  readonly fileBytes: bigint;
}

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
  /** Makes the tree; afterwards it is there whole, though after a power cut it may not be. On failure nothing is left. */
  create(request: TreeRequest): Promise<void>;
  /** How to make the tree appear. No side effects. */
  mounts(request: TreeRequest): Mount[];
  /** What a tree takes right now. */
  usage(id: string, parents: readonly string[]): Promise<TreeUsage>;
  /** Puts everything that was made and written before the call on stable storage. */
  sync(): Promise<void>;
  /** Makes the tree unreachable at once and deletes it in the background. Nothing happens when it is not there. */
  remove(id: string): Promise<void>;
  /** The ids of the trees on disk. Leftovers of interrupted work are deleted in the background. */
  list(): Promise<string[]>;
  /** Resolves when the background deletions are done; rejects with the first failure. */
  cleanup(): Promise<void>;
}
