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
  /** The name clients know it by: `overlayfs`, `native`, `erofs`, or what the configuration calls it. */
  readonly name: string;
  /** Where its trees live; shown by introspection. */
  readonly root: string;
  /** Makes the tree; afterwards it is there whole, though after a power cut it may not be. On failure nothing is left. */
  create(request: TreeRequest): Promise<void>;
  /** How to make the tree appear. May make what the mounts refer to. */
  mounts(request: TreeRequest): Mount[] | Promise<Mount[]>;
  /**
   * Makes an active tree ready to be a parent and says what it takes then; absent: it is so as it is. The tree can still be
   * written afterwards, as long as its record does not say that it is committed, and frozen again.
   */
  freeze?(request: TreeRequest): Promise<TreeUsage>;
  /** The mounts of an active tree without parents that is going to get some: `rebase`. Absent: it cannot be done. */
  detachedMounts?(id: string): Mount[];
  /** Puts an active tree that was made without parents on top of these, the nearest first. */
  rebase?(id: string, parents: readonly string[]): void;
  /** Takes away what only writing needed, once the record says that the tree is committed. */
  thin?(id: string): void;
  /** What a tree takes right now. */
  usage(id: string, parents: readonly string[], kind?: SnapshotKind): Promise<TreeUsage>;
  /** Puts everything that was made and written before the call on stable storage. */
  sync(): Promise<void>;
  /** Makes the tree unreachable at once and deletes it in the background. Nothing happens when it is not there. */
  remove(id: string): Promise<void>;
  /** The ids of the trees on disk. Leftovers of interrupted work are deleted in the background. */
  list(): Promise<string[]>;
  /** Resolves when the background deletions are done; rejects with the first failure. */
  cleanup(): Promise<void>;
}

/**
 * A snapshotter in another process, which keeps states and names itself. Its trees' ids hold the namespace and the name they
 * have there. It need not answer at the start.
 */
export interface RemoteSnapshotter extends Snapshotter {
  /** The id of a tree to be made; `number` is never used twice. */
  idOf(namespace: string, number: number, key: string): string;
  /** The number in an id that `idOf` made; undefined for others. */
  numberOf(id: string): number | undefined;
  /** Turns the active tree `id` into the committed tree `committedId`. */
  commitAs(id: string, committedId: string, labels: Labels): Promise<void>;
  /** A committed tree with this parent that the snapshotter made by itself for the label `containerd.io/snapshot.ref`. */
  find(namespace: string, target: string, parent: string | undefined): Promise<string | undefined>;
  /** The labels that the snapshotter itself gives a tree. */
  labelsOf(id: string): Promise<Labels>;
  /** Changes the labels that concern it; `paths` as everywhere. */
  update(id: string, labels: Labels, paths: readonly string[]): Promise<void>;
  /** The ids of the namespace's trees that `idOf` may have made. */
  listIn(namespace: string): Promise<string[]>;
}

export function isRemote(snapshotter: Snapshotter): snapshotter is RemoteSnapshotter {
  return 'idOf' in snapshotter;
}
