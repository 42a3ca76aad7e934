/**
 * The snapshots of all namespaces: the state machine of snapshot.ts, kept in the metadata store, over trees kept by the
 * snapshotters.
 *
 * Order: a tree is made before its record and removed after it, so a crash leaves at most a tree nobody knows, which
 * `reconcile` removes. Ids are counted up in the same transaction as the record and never used twice.
 */
import { failedPrecondition, failpoint, invalidArgument, messageOf } from '@gantry/errors';
import { idMapsOfLabels } from '@gantry/oci';
import { keys, leaseResourceTypes, removeLeaseResource, updatedLabels } from '@gantry/store';
import type { Labels, Store, Transaction } from '@gantry/store';
import { Chains } from './chains.ts';
import { commitSnapshot } from './commit-snapshot.ts';
import { DoomedTrees } from './doomed-trees.ts';
import { currentBoot, SyncQueue } from './durability.ts';
import { prepareSnapshot } from './prepare-snapshot.ts';
import { dropRecord, nowNs, recordIn } from './record-access.ts';
import { decodeSnapshot, encodeSnapshot, infoOf } from './records.ts';
import type { SnapshotRecord } from './records.ts';
import { reconcileSnapshots } from './reconcile.ts';
import { inheritedLabels, removeLeftovers, withOwnLabels } from './remote.ts';
import type { CommitOptions, Mount, PrepareOptions, SnapshotInfo, SnapshotReport, Usage } from './snapshot.ts';
import type { SnapshotParts } from './snapshot-parts.ts';
import { isRemote } from './snapshotter.ts';
import type { Snapshotter, TreeRequest } from './snapshotter.ts';
import { storedLastId, TreeIds } from './tree-ids.ts';

export interface SnapshotStoreOptions {
  readonly store: Store;
  /** What is loaded; names are unique. */
  readonly snapshotters: readonly Snapshotter[];
  /** Told of what goes wrong in the background. */
  readonly onError?: (text: string) => void;
  /** The running boot; another one than a record's means that the power may have gone. */
  readonly boot?: string;
}

/** Guarantees: snapshot.ts. A snapshotter that is not loaded is an invalid argument in every call. */
export class SnapshotStore {
  readonly #parts: SnapshotParts;
  readonly #snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly #onError: (text: string) => void;

  constructor({ store, snapshotters, onError = () => undefined, boot = currentBoot() }: SnapshotStoreOptions) {
    this.#onError = onError;
    this.#snapshotters = new Map(snapshotters.map((snapshotter) => [snapshotter.name, snapshotter]));
    const syncs = snapshotters
      .filter((snapshotter) => !isRemote(snapshotter))
      .map((snapshotter) => [snapshotter.name, new SyncQueue(snapshotter, { store, onError })] as const);
    this.#parts = {
      store,
      boot,
      chains: new Chains(),
      ids: new TreeIds(store),
      doomed: new DoomedTrees(onError),
      syncs: new Map(syncs),
    };
  }

  /** The loaded snapshotters in the order given. */
  get snapshotters(): readonly Snapshotter[] {
    return [...this.#snapshotters.values()];
  }

  /** Compares records and trees. Call once, before anything else. */
  async reconcile(): Promise<SnapshotReport> {
    const { unsynced, ...report } = await reconcileSnapshots(this.#store, this.#snapshotters, this.#parts.boot);
    for (const key of unsynced) this.#parts.syncs.get(key[2] ?? '')?.add(key);
    // Another process need not be there now, and nobody waits for its leftovers to go.
    for (const backend of this.#snapshotters.values()) {
      if (!isRemote(backend)) continue;
      const highest = storedLastId(this.#store, backend.name);
      removeLeftovers(this.#store, backend, highest).catch((err: unknown) => this.#onError(messageOf(err)));
    }
    return report;
  }

  /** Resolves when everything that was committed is on the disk. */
  async flush(): Promise<void> {
    for (const queue of this.#parts.syncs.values()) await queue.flush();
  }

  /**
   * Makes an ACTIVE snapshot. Already exists when the key is taken, or when the label `containerd.io/snapshot.ref` names
   * a committed snapshot; the lease then holds what exists. Not found for an absent parent, invalid argument for one
   * that is not committed.
   */
  async prepare(namespace: string, snapshotter: string, options: PrepareOptions): Promise<Mount[]> {
    return prepareSnapshot(this.#parts, this.#backend(snapshotter), namespace, 'active', options);
  }

  /** Makes a VIEW; otherwise as `prepare`. */
  async view(namespace: string, snapshotter: string, options: PrepareOptions): Promise<Mount[]> {
    return prepareSnapshot(this.#parts, this.#backend(snapshotter), namespace, 'view', options);
  }

  /** How an ACTIVE snapshot or a VIEW is to be mounted. Not found; failed precondition when committed. */
  async mounts(namespace: string, snapshotter: string, key: string): Promise<Mount[]> {
    const backend = this.#backend(snapshotter);
    return backend.mounts(this.#treeRequest(namespace, snapshotter, key));
  }

  /**
   * Turns an ACTIVE snapshot into the COMMITTED `name`; the key is gone. Its files are on the disk soon afterwards
   * (durability.ts). Not found, failed precondition (not active), already exists (name taken; the lease then holds it).
   */
  async commit(namespace: string, snapshotter: string, options: CommitOptions): Promise<void> {
    return commitSnapshot(this.#parts, this.#backend(snapshotter), namespace, options);
  }

  /**
   * Removes a snapshot, also from the request's lease; its files go in the background. Not found; failed precondition
   * while another one has it as its parent.
   */
  async remove(namespace: string, snapshotter: string, key: string, lease?: string): Promise<void> {
    const backend = this.#backend(snapshotter);
    const id = await this.#store.transact((tx) => this.removeIn(tx, namespace, snapshotter, key, lease));
    this.#parts.doomed.add(backend, id);
    await failpoint('snapshot.remove.after-record');
    await this.#parts.doomed.remove(backend, id);
  }

  /** The first half of `remove`, for a larger transaction; give the id to `doom` once that is durable. */
  removeIn(tx: Transaction, namespace: string, snapshotter: string, key: string, lease?: string): string {
    this.#backend(snapshotter);
    const record = recordIn(tx, namespace, snapshotter, key);
    const [child] = tx.scan(keys.snapshotChildren(namespace, snapshotter, key), { limit: 1 });
    if (child !== undefined) throw failedPrecondition('cannot remove snapshot with child', { snapshot: key });
    dropRecord(tx, namespace, snapshotter, key, record);
    removeLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), key);
    return record.id;
  }

  /** The second half of `remove`: the tree goes with the next `removeDoomed`. */
  doom(snapshotter: string, id: string): void {
    this.#parts.doomed.add(this.#backend(snapshotter), id);
  }

  /** Removes the trees that no record speaks of any more, also those that an earlier removal failed at. Gives what goes wrong. */
  async removeDoomed(): Promise<unknown[]> {
    return this.#parts.doomed.removeAll();
  }

  /** Throws not found. */
  stat(namespace: string, snapshotter: string, key: string): SnapshotInfo {
    this.#backend(snapshotter);
    return infoOf(key, recordIn(this.#store, namespace, snapshotter, key));
  }

  /** Changes labels; `paths` as everywhere (`labels`, `labels.<key>`, none: all). Not found, invalid argument. */
  async update(
    namespace: string,
    snapshotter: string,
    change: { readonly name: string; readonly labels: Labels },
    paths: readonly string[] = [],
  ): Promise<SnapshotInfo> {
    const backend = this.#backend(snapshotter);
    const record = await this.#store.transact((tx) => {
      const old = recordIn(tx, namespace, snapshotter, change.name);
      const labels = updatedLabels(old.labels, change.labels, paths);
      if (!isRemote(backend)) idMapsOfLabels(labels);
      const changed: SnapshotRecord = { ...old, labels, updatedAtNs: nowNs() };
      tx.put(keys.snapshots(namespace, snapshotter, change.name), encodeSnapshot(changed));
      return changed;
    });
    const info = infoOf(change.name, record);
    if (!isRemote(backend)) return info;
    await backend.update(record.id, inheritedLabels(record.labels), paths);
    return withOwnLabels(backend, record.id, info);
  }

  /** The namespace's snapshots of one snapshotter in the order of their names. */
  list(namespace: string, snapshotter: string): Iterable<SnapshotInfo> {
    this.#backend(snapshotter);
    return this.#list(namespace, snapshotter);
  }

  /** Counted now for an ACTIVE snapshot, at commit for a COMMITTED one, nothing for a VIEW. Throws not found. */
  async usage(namespace: string, snapshotter: string, key: string): Promise<Usage> {
    const backend = this.#backend(snapshotter);
    const record = recordIn(this.#store, namespace, snapshotter, key);
    if (isRemote(backend)) return backend.usage(record.id, []);
    const { size, inodes } =
      record.kind === 'active'
        ? await backend.usage(record.id, this.#parts.chains.below(this.#store, namespace, snapshotter, record.parent))
        : (record.usage ?? { size: 0n, inodes: 0n });
    return { size, inodes };
  }

  /** Deletes what interrupted removals left on disk; resolves when it is gone. */
  async cleanup(snapshotter: string): Promise<void> {
    const backend = this.#backend(snapshotter);
    await this.#parts.doomed.removeAll();
    await backend.cleanup();
  }

  /** As `stat`, with the labels that a snapshotter in another process gives. */
  async describe(namespace: string, snapshotter: string, key: string): Promise<SnapshotInfo> {
    const backend = this.#backend(snapshotter);
    const record = recordIn(this.#store, namespace, snapshotter, key);
    return withOwnLabels(backend, record.id, infoOf(key, record));
  }

  /** Whether the snapshotter can give an active snapshot its parent with the commit. */
  canRebase(snapshotter: string): boolean {
    const { rebase, detachedMounts } = this.#backend(snapshotter);
    return rebase !== undefined && detachedMounts !== undefined;
  }

  get #store(): Store {
    return this.#parts.store;
  }

  *#list(namespace: string, snapshotter: string): Generator<SnapshotInfo> {
    for (const { key, value } of this.#store.scan(keys.snapshots(namespace, snapshotter))) {
      const name = key.at(-1) ?? '';
      yield infoOf(name, decodeSnapshot(name, value));
    }
  }

  #treeRequest(namespace: string, snapshotter: string, key: string): TreeRequest {
    const { id, kind, labels, parent } = recordIn(this.#store, namespace, snapshotter, key);
    if (kind === 'committed')
      throw failedPrecondition(`failed to get active mount: requested snapshot ${key} not active or view`, {
        snapshot: key,
      });
    return { id, kind, labels, parents: this.#parts.chains.below(this.#store, namespace, snapshotter, parent) };
  }

  #backend(snapshotter: string): Snapshotter {
    if (snapshotter === '') throw invalidArgument('snapshotter argument missing');
    const backend = this.#snapshotters.get(snapshotter);
    if (backend === undefined) throw invalidArgument(`snapshotter not loaded: ${snapshotter}`, { snapshotter });
    return backend;
  }
}
