/**
 * Marking: what in the store is garbage.
 *
 * Roots are leases and images that have not expired, containers, sandboxes, ingests that are leased or young, and content and
 * snapshots with the label `gc.root`. A running task holds nothing beyond what its container's record holds.
 */
import { containers, images, leases, types } from '@gantry/api';
import { keys, leaseResourceTypes, RecordReader } from '@gantry/store';
import type { Entry, Key, Labels, Reader } from '@gantry/store';
import { namespaceOf, node, nodeOf, ReferenceGraph } from './graph.ts';
import type { NodeId } from './graph.ts';
import { conditions, expiryMs, flatLabel, references, rootLabel, usedAtMs } from './labels.ts';
import type { Condition } from './labels.ts';

/** The outcome of marking. */
export interface Marked {
  readonly garbage: readonly NodeId[];
  /** How many objects were looked at. */
  readonly objects: number;
  /** When the next of them expires, in milliseconds since 1970; undefined when none will. */
  readonly nextExpiryMs: number | undefined;
  /** Records that could not be read. */
  readonly errors: readonly unknown[];
}

/** How many objects are read before others may run. */
const pauseEvery = 256;

/**
 * Finds the garbage. A generator, so that one and the same code can run at once within a transaction and in slices over
 * a snapshot: whoever runs it decides what happens at a yield. Where a record cannot be read it is not known what it
 * refers to, so nothing of its namespace is garbage then. References never leave a namespace: one alone, when given, is
 * marked correctly.
 */
export function* mark(reader: Reader, nowMs: number, namespace?: string): Generator<undefined, Marked> {
  const marking = new Marking(nowMs);
  const errors: unknown[] = [];
  const spared = new Set<string>();
  let objects = 0;
  for (const [prefix, read] of marking.branches(namespace)) {
    for (const entry of reader.scan(prefix)) {
      try {
        read(entry);
      } catch (err) {
        errors.push(err);
        spared.add(entry.key[1] ?? '');
      }
      if (++objects % pauseEvery === 0) yield;
    }
  }
  marking.settleConditions();
  const unreachable = yield* marking.graph.unreachable(pauseEvery);
  const garbage = unreachable.filter((id) => !spared.has(namespaceOf(id)));
  return { garbage, objects, nextExpiryMs: marking.nextExpiryMs, errors };
}

class Marking {
  readonly graph = new ReferenceGraph();
  nextExpiryMs: number | undefined;
  readonly #nowMs: number;
  /** Leases that hold something, and whether they hold it flat. */
  readonly #leases = new Map<NodeId, { readonly flat: boolean }>();
  readonly #leasedIngests = new Set<NodeId>();
  readonly #conditions: (Condition & { readonly holder: NodeId })[] = [];
  /** When snapshots were last used. */
  readonly #usedAtMs = new Map<NodeId, number>();

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  /** The branches of the store and their readers; leases come before what they hold. */
  branches(namespace?: string): readonly (readonly [Key, (entry: Entry) => void])[] {
    return [
      [keys.leases(namespace), (entry) => this.#lease(entry)],
      [keys.leaseResources(namespace), (entry) => this.#leaseResource(entry)],
      [keys.images(namespace), (entry) => this.#image(entry)],
      [keys.containers(namespace), (entry) => this.#container(entry)],
      [keys.sandboxes(namespace), (entry) => this.#sandbox(entry)],
      [keys.ingests(namespace), (entry) => this.#ingest(entry)],
      [keys.content(namespace), (entry) => this.#content(entry)],
      [keys.snapshots(namespace), (entry) => this.#snapshot(entry)],
    ];
  }

  /** After the last record: the conditions that hold become edges. */
  settleConditions(): void {
    for (const { holder, snapshot, is, ageMs } of this.#conditions) {
      const usedAt = this.#usedAtMs.get(snapshot);
      if (usedAt === undefined) continue;
      const isOlder = this.#isExpired(usedAt + ageMs);
      if (isOlder === (is === 'older')) this.graph.edge(holder, snapshot);
    }
  }

  #lease({ key, value }: Entry): void {
    const id = nodeOf(key);
    const { labels } = leases.Lease.decode(value);
    this.graph.collectable(id);
    if (this.#isExpired(expiryMs(labels))) return;
    this.graph.root(id);
    this.#leases.set(id, { flat: Object.hasOwn(labels, flatLabel) });
  }

  #leaseResource({ key }: Entry): void {
    const [, namespace = '', leaseId = '', type = '', name = ''] = key;
    const lease = this.#leases.get(node.lease(namespace, leaseId));
    if (lease === undefined) return;
    const held = leasedNode(namespace, type, name);
    if (held === undefined) return;
    this.graph.root(held, lease.flat);
    if (type === leaseResourceTypes.ingests) this.#leasedIngests.add(held);
  }

  #image({ key, value }: Entry): void {
    const [, namespace = ''] = key;
    const id = nodeOf(key);
    const { labels, target } = images.Image.decode(value);
    this.graph.collectable(id);
    if (!this.#isExpired(expiryMs(labels))) this.graph.root(id);
    if (target !== undefined) this.graph.firmEdge(id, node.content(namespace, target.digest));
    this.#labels(id, namespace, labels);
    this.#conditional(id, namespace, labels);
  }

  #container({ key, value }: Entry): void {
    const [, namespace = ''] = key;
    const id = nodeOf(key);
    const { labels, snapshotter, snapshotKey } = containers.Container.decode(value);
    this.graph.root(id);
    if (snapshotKey !== '') this.graph.edge(id, node.snapshot(namespace, snapshotter, snapshotKey));
    this.#labels(id, namespace, labels);
  }

  #sandbox({ key, value }: Entry): void {
    const [, namespace = ''] = key;
    const id = nodeOf(key);
    this.graph.root(id);
    this.#labels(id, namespace, types.Sandbox.decode(value).labels);
  }

  #ingest({ key, value }: Entry): void {
    const [, namespace = '', ref = ''] = key;
    const id = nodeOf(key);
    const record = new RecordReader(`ingest ${JSON.stringify(ref)}`, value);
    const expiresAtNs = record.optionalInteger('expiresAtNs');
    const expiresAtMs = expiresAtNs === undefined ? 0 : Number(expiresAtNs / 1_000_000n);
    this.graph.collectable(id);
    // One without an expiry was begun under a lease and goes with it.
    if (!this.#leasedIngests.has(id) && !this.#isExpired(expiresAtMs)) this.graph.root(id);
    const expected = record.text('expected');
    if (expected !== '') this.graph.edge(id, node.content(namespace, expected));
  }

  #content({ key, value }: Entry): void {
    const [, namespace = '', digest = ''] = key;
    const labels = new RecordReader(`content ${digest}`, value).labels('labels');
    this.#labelled(nodeOf(key), namespace, labels);
    this.#conditional(nodeOf(key), namespace, labels);
  }

  #snapshot({ key, value }: Entry): void {
    const [, namespace = '', snapshotter = '', name = ''] = key;
    const id = nodeOf(key);
    const record = new RecordReader(`snapshot ${JSON.stringify(name)}`, value);
    const parent = record.text('parent');
    if (parent !== '') this.graph.firmEdge(id, node.snapshot(namespace, snapshotter, parent));
    const labels = record.labels('labels');
    this.#labelled(id, namespace, labels);
    const usedAt = usedAtMs(labels);
    if (usedAt !== undefined) this.#usedAtMs.set(id, usedAt);
  }

  #conditional(holder: NodeId, namespace: string, labels: Labels): void {
    for (const condition of conditions(namespace, labels)) this.#conditions.push({ ...condition, holder });
  }

  #labelled(id: NodeId, namespace: string, labels: Labels): void {
    this.graph.collectable(id);
    if (Object.hasOwn(labels, rootLabel)) this.graph.root(id);
    this.#labels(id, namespace, labels);
  }

  #labels(id: NodeId, namespace: string, labels: Labels): void {
    const { holds, heldBy } = references(namespace, labels);
    for (const other of holds) this.graph.edge(id, other);
    for (const other of heldBy) this.graph.edge(other, id);
  }

  #isExpired(expiresAtMs: number | undefined): boolean {
    if (expiresAtMs === undefined) return false;
    if (expiresAtMs <= this.#nowMs) return true;
    this.nextExpiryMs = Math.min(this.nextExpiryMs ?? expiresAtMs, expiresAtMs);
    return false;
  }
}

function leasedNode(namespace: string, type: string, name: string): NodeId | undefined {
  if (type === leaseResourceTypes.content) return node.content(namespace, name);
  if (type === leaseResourceTypes.images) return node.image(namespace, name);
  if (type === leaseResourceTypes.ingests) return node.ingest(namespace, name);
  const snapshotter = /^snapshots\/(.+)$/s.exec(type)?.[1];
  return snapshotter === undefined ? undefined : node.snapshot(namespace, snapshotter, name);
}

/** Runs a marking to its end without letting anybody else run. */
export function finish<T>(steps: Generator<undefined, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}
