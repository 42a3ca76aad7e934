/**
 * Snapshots: the file systems that containers run on and images are unpacked into.
 *
 * Vocabulary
 * - A **snapshot** is a directory tree, made from nothing or on top of a **parent**. It lives in one namespace and in one
 *   **snapshotter** (a way of storing trees: overlayfs, native).
 * - It is named by its **key** while it is active or a view, and by its **name** once it is committed. Keys and names
 *   share one space per namespace and snapshotter.
 * - **ACTIVE**: writable, can be committed. **VIEW**: read-only, cannot. **COMMITTED**: frozen; the only kind that can be
 *   a parent, and the only kind without mounts.
 * - **Mounts** say how to make the tree appear: a bind, or an overlay over several directories. They are data; nothing
 *   here mounts anything.
 *
 *                 prepare(key, parent)                     view(key, parent)
 *                        │                                        │
 *                        ▼                                        ▼
 *       ┌────────► ACTIVE key ──── commit(name, key) ──►  …     VIEW key
 *       │  mounts    │    │                                    │    │  mounts
 *       └────────────┘    │ remove(key)            remove(key) │    └────────
 *                         ▼                                    ▼
 *                       gone        COMMITTED name ──remove──► gone   (refused while it is anybody's parent)
 *
 * Worked example: unpacking an image of two layers, then running a container on it
 *
 *     prepare  key="extract-1 <chain1>"  parent=""          → bind rw …/1/fs            apply layer 1 there
 *     commit   name="<chain1>"           key="extract-1 …"  → COMMITTED <chain1>; the key is gone
 *     prepare  key="extract-2 <chain2>"  parent="<chain1>"  → overlay upper=…/2/fs lower=…/1/fs    apply layer 2
 *     commit   name="<chain2>"           key="extract-2 …"
 *     prepare  key="web"                 parent="<chain2>"  → overlay upper=…/3/fs lower=…/2/fs:…/1/fs
 *     remove   "<chain1>"                                   → failed precondition: it has a child
 *     remove   "web"; remove "<chain2>"; remove "<chain1>"  → nothing is left
 */

import type { Labels } from '@gantry/store';

export type SnapshotKind = 'view' | 'active' | 'committed';

/** What is known of a snapshot. Times are nanoseconds since the epoch. */
export interface SnapshotInfo {
  readonly kind: SnapshotKind;
  /** The key, or the name when committed. */
  readonly name: string;
  /** The parent's name; '' when there is none. */
  readonly parent: string;
  readonly labels: Labels;
  readonly createdAtNs: bigint;
  readonly updatedAtNs: bigint;
}

/** One step of making the tree appear, in the words of mount(8). */
export interface Mount {
  /** `bind` or a file system type. */
  readonly type: string;
  readonly source: string;
  readonly target?: string;
  readonly options: readonly string[];
}

/** What a snapshot takes by itself, without its parents. `size` in bytes on disk (blocks × 512). */
export interface Usage {
  readonly size: bigint;
  readonly inodes: bigint;
}

/** Where a snapshot comes from. */
export interface PrepareOptions {
  readonly key: string;
  /** '' or absent: an empty tree. */
  readonly parent?: string;
  readonly labels?: Labels;
  /** Lease of the request; unknown: not found. */
  readonly lease?: string | undefined;
  /** It gets its parent with the commit: `canRebase`. The mounts are for the differ alone. */
  readonly detached?: boolean;
}

export interface CommitOptions {
  readonly name: string;
  readonly key: string;
  /** The labels of the committed snapshot; those of the active one are not inherited. */
  readonly labels?: Labels;
  /** The snapshot's parent or ''; of one that was made without, the parent that it gets, where the snapshotter can do that. */
  readonly parent?: string;
  readonly lease?: string | undefined;
}

/** What `reconcile` found and did; texts are for the log. */
export interface SnapshotReport {
  /** Records whose directories are gone: `<namespace>/<snapshotter>/<key>`. */
  readonly broken: readonly string[];
  /** Directories without a record that were removed: `<snapshotter>/<id>`. */
  readonly removed: readonly string[];
  /** Records of a snapshotter that is not loaded. */
  readonly unknown: readonly string[];
  /** After a power cut: trees of active snapshots and views that had not reached the disk, made again, empty. */
  readonly remade: readonly string[];
  /** After a power cut: committed snapshots that had not wholly reached the disk. Removed, or kept under what is built on them. */
  readonly lost: readonly string[];
}
