/**
 * The snapshots of all namespaces: the state machine of snapshot.ts, kept in the metadata store, over trees kept by the
 * snapshotters.
 *
 * Order: a tree is made before its record and removed after it, so a crash leaves at most a tree nobody knows, which
 * `reconcile` removes. Ids are counted up in the same transaction as the record and never used twice.
 */
import {
  alreadyExists,
  failedPrecondition,
  invalidArgument,
  isCode,
  messageOf,
  notFound,
  notImplemented,
} from '@gantry/errors';
import { idMapsOfLabels } from '@gantry/oci';
import {
  addLeaseResource,
  keys,
  leaseResourceTypes,
  presentLabels,
  removeLeaseResource,
  requireLease,
  updatedLabels,
} from '@gantry/store';
import type { Labels, Reader, Store, Transaction } from '@gantry/store';
import { Chains, committedRecord } from './chains.ts';
import { currentBoot, SyncQueue } from './durability.ts';
import { decodeSnapshot, encodeSnapshot, infoOf } from './records.ts';
import type { SnapshotRecord } from './records.ts';
import { reconcileSnapshots } from './reconcile.ts';
import type {
  CommitOptions,
  Mount,
  PrepareOptions,
  SnapshotInfo,
  SnapshotKind,
  SnapshotReport,
  Usage,
} from './snapshot.ts';
import { discardTree, inheritedLabels, removeLeftovers, withOwnLabels } from './remote.ts';
import { isRemote } from './snapshotter.ts';
import type { Snapshotter, TreeRequest } from './snapshotter.ts';

/** Label of an unpacking client: the name the snapshot is going to be committed to. */
const targetLabel = 'containerd.io/snapshot.ref';

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
  readonly #store: Store;
  readonly #snapshotters: ReadonlyMap<string, Snapshotter>;
  /** Highest id given out per snapshotter; ahead of the store's while a tree is being made. */
  readonly #lastIds = new Map<string, number>();
  readonly #boot: string;
  readonly #syncs: ReadonlyMap<string, SyncQueue>;
  readonly #chains = new Chains();
  readonly #onError: (text: string) => void;

  constructor({ store, snapshotters, onError = () => undefined, boot = currentBoot() }: SnapshotStoreOptions) {
    this.#store = store;
    this.#onError = onError;
    this.#boot = boot;
    this.#snapshotters = new Map(snapshotters.map((snapshotter) => [snapshotter.name, snapshotter]));
    this.#syncs = new Map(
      snapshotters
        .filter((snapshotter) => !isRemote(snapshotter))
        .map((snapshotter) => [snapshotter.name, new SyncQueue(snapshotter, { store, onError })]),
    );
  }

  /** The loaded snapshotters in the order given. */
  get snapshotters(): readonly Snapshotter[] {
    return [...this.#snapshotters.values()];
  }

  /** Compares records and trees. Call once, before anything else. */
  async reconcile(): Promise<SnapshotReport> {
    const { unsynced, ...report } = await reconcileSnapshots(this.#store, this.#snapshotters, this.#boot);
    for (const key of unsynced) this.#syncs.get(key[2] ?? '')?.add(key);
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
    for (const queue of this.#syncs.values()) await queue.flush();
  }

  /**
   * Makes an ACTIVE snapshot. Already exists when the key is taken, or when the label `containerd.io/snapshot.ref` names
   * a committed snapshot; the lease then holds what exists. Not found for an absent parent, invalid argument for one
   * that is not committed.
   */
  async prepare(namespace: string, snapshotter: string, options: PrepareOptions): Promise<Mount[]> {
    return this.#make(namespace, snapshotter, 'active', options);
  }

  /** Makes a VIEW; otherwise as `prepare`. */
  async view(namespace: string, snapshotter: string, options: PrepareOptions): Promise<Mount[]> {
    return this.#make(namespace, snapshotter, 'view', options);
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
    const backend = this.#backend(snapshotter);
    const { name, key } = options;
    mustNotBeEmpty(name, 'name');
    const taken = await this.#store.transact((tx) =>
      this.#leaseExisting(tx, namespace, snapshotter, name, options.lease),
    );
    if (taken) throw alreadyExists(`snapshot ${JSON.stringify(name)}`, { snapshot: name });
    const record = activeRecord(this.#store, namespace, snapshotter, key);
    const { parent = record.parent } = options.parent === '' ? {} : options;
    if (parent !== record.parent) {
      if (record.parent !== '' || backend.rebase === undefined) {
        throw notImplemented(`committing snapshot ${JSON.stringify(key)} onto another parent`);
      }
      backend.rebase(record.id, this.#chains.below(this.#store, namespace, snapshotter, parent));
    }
    const frozen = await this.#freeze(namespace, backend, options, record);
    await this.#store.transact((tx) => {
      const current = activeRecord(tx, namespace, snapshotter, key);
      if (tx.get(keys.snapshots(namespace, snapshotter, name)) !== undefined) {
        throw alreadyExists(`snapshot ${JSON.stringify(name)}`, { snapshot: name });
      }
      const at = nowNs();
      const labels = presentLabels(options.labels ?? {});
      const times = { createdAtNs: at, updatedAtNs: at };
      // What is below it may have been removed meanwhile.
      if (parent !== '') committedRecord(tx, namespace, snapshotter, parent);
      const committed: SnapshotRecord = { ...current, kind: 'committed', parent, labels, ...times, ...frozen };
      dropRecord(tx, namespace, snapshotter, key, current);
      putRecord(tx, namespace, snapshotter, name, committed);
      const type = leaseResourceTypes.snapshots(snapshotter);
      removeLeaseResource(tx, namespace, options.lease, type, key);
      addLeaseResource(tx, namespace, options.lease, type, name);
    });
    backend.thin?.(record.id);
    if (frozen.unsynced !== undefined) this.#syncs.get(snapshotter)?.add(keys.snapshots(namespace, snapshotter, name));
  }

  /** Makes an active tree ready to be a parent; gives what its record says of it from then on. */
  async #freeze(
    namespace: string,
    backend: Snapshotter,
    { name, labels = {} }: CommitOptions,
    record: SnapshotRecord,
  ): Promise<Pick<SnapshotRecord, 'id' | 'usage' | 'unsynced'>> {
    const { id } = record;
    if (isRemote(backend)) {
      const committedId = backend.idOf(namespace, await this.#nextRemoteNumber(backend.name), name);
      await backend.commitAs(id, committedId, inheritedLabels(labels));
      return { id: committedId, usage: undefined, unsynced: undefined };
    }
    const parents = this.#chains.below(this.#store, namespace, backend.name, record.parent);
    const request: TreeRequest = { id, kind: 'active', labels: record.labels, parents };
    const usage = await (backend.freeze?.(request) ?? backend.usage(id, parents));
    return { id, usage, unsynced: this.#boot };
  }

  /**
   * Removes a snapshot, also from the request's lease; its files go in the background. Not found; failed precondition
   * while another one has it as its parent.
   */
  async remove(namespace: string, snapshotter: string, key: string, lease?: string): Promise<void> {
    const id = await this.#store.transact((tx) => this.removeIn(tx, namespace, snapshotter, key, lease));
    await this.removeTree(snapshotter, id);
  }

  /** The first half of `remove`, for a larger transaction; give the id to `removeTree` once that is durable. */
  removeIn(tx: Transaction, namespace: string, snapshotter: string, key: string, lease?: string): string {
    this.#backend(snapshotter);
    const record = recordIn(tx, namespace, snapshotter, key);
    const [child] = tx.scan(keys.snapshotChildren(namespace, snapshotter, key), { limit: 1 });
    if (child !== undefined) throw failedPrecondition('cannot remove snapshot with child', { snapshot: key });
    dropRecord(tx, namespace, snapshotter, key, record);
    removeLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), key);
    return record.id;
  }

  /** The second half of `remove`. Idempotent. */
  async removeTree(snapshotter: string, id: string): Promise<void> {
    const backend = this.#backend(snapshotter);
    // Another process may be away; what it keeps then goes at a later start.
    if (isRemote(backend)) await discardTree(backend, id, this.#onError);
    else await backend.remove(id);
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
        ? await backend.usage(record.id, this.#chains.below(this.#store, namespace, snapshotter, record.parent))
        : (record.usage ?? { size: 0n, inodes: 0n });
    return { size, inodes };
  }

  /** Deletes what interrupted removals left on disk; resolves when it is gone. */
  async cleanup(snapshotter: string): Promise<void> {
    await this.#backend(snapshotter).cleanup();
  }

  /** As `stat`, with the labels that a snapshotter in another process gives. */
  async describe(namespace: string, snapshotter: string, key: string): Promise<SnapshotInfo> {
    const backend = this.#backend(snapshotter);
    const record = recordIn(this.#store, namespace, snapshotter, key);
    return withOwnLabels(backend, record.id, infoOf(key, record));
  }

  async #make(
    namespace: string,
    snapshotter: string,
    kind: Exclude<SnapshotKind, 'committed'>,
    options: PrepareOptions,
  ): Promise<Mount[]> {
    const backend = this.#backend(snapshotter);
    const { key, parent = '', lease } = options;
    mustNotBeEmpty(key, 'key');
    const labels = presentLabels(options.labels ?? {});
    if (!isRemote(backend)) idMapsOfLabels(labels);
    const target = labels[targetLabel];
    const existing = await this.#existing(namespace, snapshotter, { key, target, lease });
    if (existing !== undefined) throw alreadyExists(`snapshot ${JSON.stringify(existing)}`, { snapshot: existing });
    const parents = this.#chains.below(this.#store, namespace, snapshotter, parent);
    const number = isRemote(backend) ? await this.#nextRemoteNumber(snapshotter) : this.#nextNumber(snapshotter);
    const id = isRemote(backend) ? backend.idOf(namespace, number, key) : String(number);
    const given = isRemote(backend) ? inheritedLabels(labels) : labels;
    const request = { id, kind, labels: given, parents };
    try {
      await backend.create(request);
    } catch (err) {
      if (target === undefined || !isRemote(backend) || !isCode(err, 'already exists')) throw err;
      // A lazy snapshotter has made it by itself.
      const found = await backend.find(namespace, target, parents[0]);
      if (found === undefined) throw err;
      await this.#adopt(namespace, snapshotter, { id: found, name: target, parent, labels, lease });
      throw alreadyExists(`snapshot ${JSON.stringify(target)}`, { snapshot: target });
    }
    try {
      await this.#store.transact((tx) => {
        if (tx.get(keys.snapshots(namespace, snapshotter, key)) !== undefined) {
          throw alreadyExists(`snapshot ${JSON.stringify(key)}`, { snapshot: key });
        }
        // It may have been removed meanwhile; what is below it cannot be as long as it is there.
        if (parent !== '') committedRecord(tx, namespace, snapshotter, parent);
        const at = nowNs();
        const times = { createdAtNs: at, updatedAtNs: at };
        putRecord(tx, namespace, snapshotter, key, { id, kind, parent, labels, ...times, usage: undefined });
        if (number > storedLastId(tx, snapshotter)) tx.put(keys.snapshotIds(snapshotter), Buffer.from(String(number)));
        addLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), key);
      });
    } catch (err) {
      await discardTree(backend, id, this.#onError);
      throw err;
    }
    return options.detached === true ? (backend.detachedMounts?.(id) ?? []) : backend.mounts(request);
  }

  /** Whether the snapshotter can give an active snapshot its parent with the commit. */
  canRebase(snapshotter: string): boolean {
    const { rebase, detachedMounts } = this.#backend(snapshotter);
    return rebase !== undefined && detachedMounts !== undefined;
  }

  /** Records a committed tree that is there already; the lease holds it. */
  async #adopt(namespace: string, snapshotter: string, { id, name, parent, labels, lease }: Adopted): Promise<void> {
    await this.#store.transact((tx) => {
      if (this.#leaseExisting(tx, namespace, snapshotter, name, lease)) return;
      if (parent !== '') committedRecord(tx, namespace, snapshotter, parent);
      const at = nowNs();
      const times = { createdAtNs: at, updatedAtNs: at };
      putRecord(tx, namespace, snapshotter, name, {
        id,
        kind: 'committed',
        parent,
        labels,
        ...times,
        usage: undefined,
      });
      addLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), name);
    });
  }

  /** What exists already, put into the lease. Costs no fsync when nothing exists. */
  async #existing(
    namespace: string,
    snapshotter: string,
    { key, target, lease }: { key: string; target: string | undefined; lease: string | undefined },
  ): Promise<string | undefined> {
    return this.#store.transact((tx) => {
      requireLease(tx, namespace, lease);
      if (target !== undefined) {
        const bytes = tx.get(keys.snapshots(namespace, snapshotter, target));
        const committed = bytes !== undefined && decodeSnapshot(target, bytes).kind === 'committed';
        if (committed && this.#leaseExisting(tx, namespace, snapshotter, target, lease)) return target;
      }
      return this.#leaseExisting(tx, namespace, snapshotter, key, lease) ? key : undefined;
    });
  }

  /** Durable together with the record of the tree that gets it. */
  #nextNumber(snapshotter: string): number {
    const number = Math.max(this.#lastIds.get(snapshotter) ?? 0, storedLastId(this.#store, snapshotter)) + 1;
    this.#lastIds.set(snapshotter, number);
    return number;
  }

  /** Durable before it is used: what a crash leaves in another process is known by its number, and no other tree gets it. */
  async #nextRemoteNumber(snapshotter: string): Promise<number> {
    const number = this.#nextNumber(snapshotter);
    await this.#store.transact((tx) => {
      if (number > storedLastId(tx, snapshotter)) tx.put(keys.snapshotIds(snapshotter), Buffer.from(String(number)));
    });
    return number;
  }

  #leaseExisting(
    tx: Transaction,
    namespace: string,
    snapshotter: string,
    key: string,
    lease: string | undefined,
  ): boolean {
    if (tx.get(keys.snapshots(namespace, snapshotter, key)) === undefined) return false;
    addLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), key);
    return true;
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
    return { id, kind, labels, parents: this.#chains.below(this.#store, namespace, snapshotter, parent) };
  }

  #backend(snapshotter: string): Snapshotter {
    if (snapshotter === '') throw invalidArgument('snapshotter argument missing');
    const backend = this.#snapshotters.get(snapshotter);
    if (backend === undefined) throw invalidArgument(`snapshotter not loaded: ${snapshotter}`, { snapshotter });
    return backend;
  }
}

/** A tree that a snapshotter made by itself. */
interface Adopted {
  readonly id: string;
  readonly name: string;
  readonly parent: string;
  readonly labels: Labels;
  readonly lease: string | undefined;
}

function recordIn(reader: Reader, namespace: string, snapshotter: string, key: string): SnapshotRecord {
  mustNotBeEmpty(key, 'key');
  const bytes = reader.get(keys.snapshots(namespace, snapshotter, key));
  if (bytes === undefined) throw notFound(`snapshot ${key} does not exist`, { snapshot: key });
  return decodeSnapshot(key, bytes);
}

/** Writes a record and its place among its parent's children. */
function putRecord(tx: Transaction, namespace: string, snapshotter: string, key: string, record: SnapshotRecord): void {
  tx.put(keys.snapshots(namespace, snapshotter, key), encodeSnapshot(record));
  if (record.parent !== '') {
    tx.put(keys.snapshotChildren(namespace, snapshotter, record.parent, key), new Uint8Array(0));
  }
}

function dropRecord(
  tx: Transaction,
  namespace: string,
  snapshotter: string,
  key: string,
  record: SnapshotRecord,
): void {
  tx.delete(keys.snapshots(namespace, snapshotter, key));
  if (record.parent !== '') tx.delete(keys.snapshotChildren(namespace, snapshotter, record.parent, key));
}

function activeRecord(reader: Reader, namespace: string, snapshotter: string, key: string): SnapshotRecord {
  const record = recordIn(reader, namespace, snapshotter, key);
  if (record.kind === 'active') return record;
  throw failedPrecondition(`snapshot ${JSON.stringify(key)} is not active`, { snapshot: key });
}

function storedLastId(reader: Reader, snapshotter: string): number {
  const bytes = reader.get(keys.snapshotIds(snapshotter));
  return bytes === undefined ? 0 : Number(Buffer.from(bytes).toString('latin1'));
}

function mustNotBeEmpty(text: string, what: string): void {
  if (text === '') throw invalidArgument(`snapshot ${what} must not be empty`);
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
