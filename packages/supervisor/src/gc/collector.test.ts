import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { containers, images, leases } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { ContentStore } from '@gantry/content';
import { SnapshotStore } from '@gantry/snapshots';
import type { Snapshotter, TreeUsage } from '@gantry/snapshots';
import { addLeaseResource, encodeRecord, keys, memoryStore } from '@gantry/store';
import type { Labels, Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { GarbageCollector } from './collector.ts';
import type { GcConfig } from './pace.ts';

const ns = 'ns';
const past = '2001-01-01T00:00:00Z';
const future = '2999-01-01T00:00:00Z';

/** A snapshotter that keeps its trees in a set. */
class ImaginarySnapshotter implements Snapshotter {
  readonly name = 'imaginary';
  readonly root = '/nowhere';
  readonly trees = new Set<string>();

  create = async ({ id }: { id: string }): Promise<void> => Promise.resolve(void this.trees.add(id));
  mounts = (): [] => [];
  sync = async (): Promise<void> => Promise.resolve();
  usage = async (): Promise<TreeUsage> => Promise.resolve({ size: 0n, inodes: 0n, fileBytes: 0n });
  remove = async (id: string): Promise<void> => Promise.resolve(void this.trees.delete(id));
  list = async (): Promise<string[]> => Promise.resolve([...this.trees]);
  cleanup = async (): Promise<void> => Promise.resolve();
}

class World {
  readonly store: Store = memoryStore();
  readonly snapshotter = new ImaginarySnapshotter();
  readonly snapshots = new SnapshotStore({ store: this.store, snapshotters: [this.snapshotter] });
  readonly published: string[] = [];
  readonly events: Publisher = {
    publish: (namespace, topic, type, event) => {
      const { digest, key, name } = type.create(event) as Record<string, unknown>;
      this.published.push(`${namespace}${topic} ${String(digest ?? key ?? name)}`);
    },
  };
  readonly content: ContentStore;
  readonly gc: GarbageCollector;

  readonly root: string;

  constructor(root: string, config: Partial<GcConfig>) {
    this.root = root;
    this.content = new ContentStore({ root, store: this.store });
    const { store, content, snapshots, events } = this;
    this.gc = new GarbageCollector({ store, content, snapshots, events, config });
  }

  async blob(text: string, labels: Labels = {}, lease?: string): Promise<string> {
    const writer = await this.content.openWriter(ns, { ref: `ref-${text}`, lease });
    await writer.write(Buffer.from(text));
    return (await writer.commit({ labels })).digest;
  }

  async image(name: string, digest: string, labels: Record<string, string> = {}): Promise<void> {
    const target = { mediaType: 'm', digest, size: 1n };
    const record = images.Image.encode(images.Image.create({ name, labels, target }));
    await this.store.transact((tx) => tx.put(keys.images(ns, name), record));
  }

  async lease(id: string, labels: Record<string, string> = {}): Promise<void> {
    const record = leases.Lease.encode(leases.Lease.create({ id, labels }));
    await this.store.transact((tx) => tx.put(keys.leases(ns, id), record));
  }

  async leased(lease: string, type: string, id: string): Promise<void> {
    await this.store.transact((tx) => addLeaseResource(tx, ns, lease, type, id));
  }

  async container(init: PartialMessage<containers.Container> & { id: string }): Promise<void> {
    const record = containers.Container.encode(containers.Container.create(init));
    await this.store.transact((tx) => tx.put(keys.containers(ns, init.id), record));
  }

  async committed(name: string, parent = '', labels: Labels = {}): Promise<void> {
    await this.snapshots.prepare(ns, 'imaginary', { key: `extract ${name}`, parent });
    await this.snapshots.commit(ns, 'imaginary', { key: `extract ${name}`, name, labels });
  }

  async active(key: string, parent = ''): Promise<void> {
    await this.snapshots.prepare(ns, 'imaginary', { key, parent });
  }

  snapshotNames(): string[] {
    return [...this.snapshots.list(ns, 'imaginary')].map(({ name }) => name);
  }

  digests(): Set<string> {
    return new Set([...this.content.list(ns)].map(({ digest }) => digest));
  }

  async files(): Promise<string[]> {
    return readdir(path.join(this.root, 'blobs', 'sha256')).catch(() => []);
  }
}

/** Waits for a condition that a run brings about by itself. */
async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; !isTrue() && tries < 3000; tries++) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function world(test: { teardown: (fn: () => unknown) => void }, config: Partial<GcConfig> = {}): Promise<World> {
  const root = await mkdtemp(path.join(tmpdir(), 'gantry-gc-'));
  const made = new World(root, config);
  await made.content.reconcile();
  test.teardown(async () => {
    await made.gc.close();
    await made.store.close();
    await rm(root, { recursive: true });
  });
  return made;
}

t.test('what nothing refers to goes, from the metadata and from the disk, and everybody is told', async (t) => {
  const w = await world(t);
  const lost = await w.blob('lost');
  await w.committed('base');
  await w.active('top', 'base');
  const stats = await w.gc.run();
  t.match(stats, { content: 1, snapshots: 2, blobs: 1, errors: 0 });
  t.same(w.digests(), new Set());
  t.same(await w.files(), []);
  t.equal(w.snapshotter.trees.size, 0);
  t.same(w.published, [`ns/content/delete ${lost}`, 'ns/snapshot/remove top', 'ns/snapshot/remove base']);
});

t.test('an image holds its target and everything the labels lead to from there', async (t) => {
  const w = await world(t);
  await w.committed('chain1');
  await w.committed('chain2', 'chain1');
  const layer = await w.blob('layer');
  const config = await w.blob('config', { 'containerd.io/gc.ref.snapshot.imaginary': 'chain2' });
  const manifest = await w.blob('manifest', {
    'containerd.io/gc.ref.content.config': config,
    'containerd.io/gc.ref.content.l.0': layer,
  });
  const index = await w.blob('index', { 'containerd.io/gc.ref.content.m.0': manifest });
  await w.image('i', index);
  t.match(await w.gc.run(), { content: 0, snapshots: 0, images: 0 });
  t.same(w.digests(), new Set([layer, config, manifest, index]));
  await w.store.transact((tx) => tx.delete(keys.images(ns, 'i')));
  t.match(await w.gc.run(), { content: 4, snapshots: 2, blobs: 4 });
  t.same(w.snapshotNames(), []);
});

t.test('a container holds its snapshot, with all parents', async (t) => {
  const w = await world(t);
  await w.committed('base');
  await w.active('c1', 'base');
  await w.active('left over', 'base');
  const extra = await w.blob('extra');
  const labels = { 'containerd.io/gc.ref.content': extra };
  await w.container({ id: 'c1', snapshotter: 'imaginary', snapshotKey: 'c1', labels });
  t.match(await w.gc.run(), { content: 0, snapshots: 1 });
  t.same(w.snapshotNames(), ['base', 'c1']);
});

t.test('a lease holds until it expires, and goes then with what it held', async (t) => {
  const w = await world(t);
  await w.lease('holding', { 'containerd.io/gc.expire': future });
  await w.lease('expired', { 'containerd.io/gc.expire': past });
  await w.lease('unreadable', { 'containerd.io/gc.expire': 'tomorrow' });
  const held = await w.blob('held', {}, 'holding');
  await w.blob('released', {}, 'expired');
  const kept = await w.blob('kept', {}, 'unreadable');
  t.match(await w.gc.run(), { content: 1, leases: 1 });
  t.same(w.digests(), new Set([held, kept]));
  t.equal(w.store.get(keys.leases(ns, 'expired')), undefined);
  t.same([...w.store.scan(keys.leaseResources(ns, 'expired'))], []);
});

t.test('a flat lease holds what it names, and parents and targets only beyond that', async (t) => {
  const w = await world(t);
  await w.lease('flat', { 'containerd.io/gc.flat': '1' });
  const layer = await w.blob('layer');
  const manifest = await w.blob('manifest', { 'containerd.io/gc.ref.content.0': layer });
  const other = await w.blob('other', { 'containerd.io/gc.ref.content.0': layer });
  await w.image('i', other, { 'containerd.io/gc.expire': past });
  await w.committed('base');
  await w.active('top', 'base');
  await w.leased('flat', 'content', manifest);
  await w.leased('flat', 'images', 'i');
  await w.leased('flat', 'snapshots/imaginary', 'top');
  t.match(await w.gc.run(), { content: 1, snapshots: 0, images: 0 });
  t.same(w.digests(), new Set([manifest, other]));
  await w.lease('full');
  const late = await w.blob('late', {}, 'full');
  await w.content.update(ns, { digest: manifest, labels: { 'containerd.io/gc.ref.content.0': late } });
  await w.leased('full', 'content', manifest);
  await w.store.transact((tx) => tx.delete(keys.leaseResources(ns, 'full', 'content', late)));
  t.match(await w.gc.run(), { content: 0 }, 'held in full by one lease it is followed, whatever the other says');
});

t.test('roots by label, references to images and back references hold', async (t) => {
  const w = await world(t);
  const rooted = await w.blob('rooted', { 'containerd.io/gc.root': 'x' });
  await w.committed('rooted', '', { 'containerd.io/gc.root': 'x' });
  const referrer = await w.blob('referrer', { 'containerd.io/gc.bref.content.subject': rooted });
  const orphan = await w.blob('orphan', { 'containerd.io/gc.bref.content': `sha256:${'0'.repeat(64)}` });
  const target = await w.blob('target');
  await w.image('primary', rooted, { 'containerd.io/gc.ref.image.extra': 'extra' });
  await w.image('extra', target, { 'containerd.io/gc.expire': past });
  await w.image('alias', target, { 'containerd.io/gc.expire': past, 'containerd.io/gc.bref.image': 'primary' });
  await w.image('gone', orphan, { 'containerd.io/gc.expire': past });
  const log = await w.blob('log', { 'containerd.io/gc.bref.container': 'c1' });
  await w.container({ id: 'c1' });
  t.match(await w.gc.run(), { content: 1, images: 1, snapshots: 0 });
  t.same(w.digests(), new Set([rooted, referrer, target, log]));
  t.ok(w.published.includes('ns/images/delete gone'));
});

t.test('ingests go when they have expired or their lease has gone', async (t) => {
  const w = await world(t);
  await w.lease('l');
  for (const [ref, lease] of [
    ['young', undefined],
    ['old', undefined],
    ['leased', 'l'],
  ] as const) {
    const writer = await w.content.openWriter(ns, { ref, lease });
    await writer.write(Buffer.from('half'));
    await writer.close();
  }
  const old = { total: 0n, expected: '', startedAtNs: 1n, updatedAtNs: 1n, expiresAtNs: 2n };
  await w.store.transact((tx) => tx.put(keys.ingests(ns, 'old'), encodeRecord(old)));
  const refs = (): (string | undefined)[] => [...w.store.scan(keys.ingests(ns))].map(({ key }) => key.at(-1));
  t.match(await w.gc.run(), { ingests: 1 });
  t.same(refs(), ['leased', 'young']);
  await w.store.transact((tx) => tx.delete(keys.leases(ns, 'l')));
  t.match(await w.gc.run(), { ingests: 1 });
  t.same(refs(), ['young']);
});

t.test('namespaces hold for themselves; the bytes stay while one of them has the blob', async (t) => {
  const w = await world(t);
  const digest = await w.blob('shared');
  await w.image('i', digest);
  const writer = await w.content.openWriter('other', { ref: 'r' });
  await writer.write(Buffer.from('shared'));
  await writer.commit();
  t.match(await w.gc.run(), { content: 1, blobs: 0 });
  t.equal(w.content.has(ns, digest), true);
  t.equal(w.content.has('other', digest), false);
  t.equal((await w.files()).length, 1);
});

t.test('what becomes referenced between marking and sweeping stays', async (t) => {
  const w = await world(t);
  const digest = await w.blob('late');
  const sweeping = w.gc.run();
  // Begins after the view that is marked in slices was taken, ends before the transaction that sweeps.
  const tagging = w.image('i', digest);
  await Promise.all([sweeping, tagging]);
  t.same(w.digests(), new Set([digest]));
});

t.test('one that cannot be removed does not keep the others', async (t) => {
  const w = await world(t);
  const digest = await w.blob('lost');
  await w.active('stuck');
  const stuck = new Error('device is busy');
  w.snapshotter.remove = async () => Promise.reject(stuck);
  t.match(await w.gc.run(), { content: 1, snapshots: 1, errors: 1 });
  t.equal(w.digests().has(digest), false);
});

t.test('a record that cannot be read spares its namespace and no other', async (t) => {
  const w = await world(t);
  const digest = await w.blob('spared');
  await w.store.transact((tx) => {
    tx.put(keys.images(ns, 'broken'), Uint8Array.of(255));
    tx.put(
      keys.leases('other', 'l'),
      leases.Lease.encode(leases.Lease.create({ labels: { 'containerd.io/gc.expire': past } })),
    );
  });
  t.match(await w.gc.run(), { content: 0, leases: 1, errors: 1 });
  t.same(w.digests(), new Set([digest]));
});

t.test('a snapshot of a snapshotter that is not loaded is left alone', async (t) => {
  const w = await world(t);
  const record = { id: '1', kind: 'committed', parent: '', createdAtNs: 1n, updatedAtNs: 1n };
  await w.store.transact((tx) => tx.put(keys.snapshots(ns, 'absent', 'k'), encodeRecord(record)));
  t.match(await w.gc.run(), { snapshots: 0, errors: 0 });
  t.ok(w.store.get(keys.snapshots(ns, 'absent', 'k')));
});

t.test('a call that comes while a run is under way waits for a run of its own', async (t) => {
  const w = await world(t);
  await w.blob('lost');
  const [first, second, third] = await Promise.all([w.gc.run(), w.gc.run(), w.gc.run()]);
  t.equal(second, third, 'those that wait share one');
  t.not(first, second);
  t.match(first, { content: 1 });
  t.match(second, { content: 0 });
  t.same(w.digests(), new Set());
});

t.test('conditional holds depend on when a snapshot was last used', async (t) => {
  const w = await world(t);
  const used = (agoMs: number): Labels => ({
    'containerd.io/gc.cond.value-usedat': new Date(Date.now() - agoMs).toISOString(),
  });
  const hour = 3_600_000;
  await w.committed('young', '', used(hour));
  await w.committed('old', '', used(48 * hour));
  await w.committed('either', '', used(48 * hour));
  await w.committed('undated');
  await w.committed('of nobody', '', used(hour));
  const label = 'containerd.io/gc.cond.snapshot.imaginary';
  const config = await w.blob('config', {
    [`${label}/1`]: 'usedat<24h|young',
    [`${label}/2`]: 'usedat<24h|old',
    [`${label}/3`]: 'usedat<1h,usedat>24h|either',
    [`${label}/4`]: 'usedat<24h|undated',
    [`${label}/5`]: 'usedat<=24h,usedat<soon,size<5|of nobody',
    [label]: 'nothing',
  });
  const image = await w.image('i', config);
  t.equal(image, undefined);
  t.match(await w.gc.run(), { snapshots: 3, content: 0 });
  t.same(w.snapshotNames(), ['either', 'young']);
  await w.store.transact((tx) => tx.delete(keys.images(ns, 'i')));
  t.match(await w.gc.run(), { snapshots: 2, content: 1 }, 'a hold ends with its holder');
});

t.test('enough changes of any kind make a run due', async (t) => {
  const w = await world(t, { mutationThreshold: 20, scheduleDelayMs: 0 });
  const digest = await w.blob('unlabelled', { 'containerd.io/gc.root': 'x' });
  await w.content.update(ns, { digest, labels: {} });
  for (let count = 0; count < 20; count++) await w.lease(`l${count}`);
  await until(() => w.digests().size === 0);
  t.same(w.digests(), new Set());
});

t.test('a burst of deletions does not wait for the pause to be over', async (t) => {
  const w = await world(t, { pauseThreshold: 0.001, deletionThreshold: 3, scheduleDelayMs: 0 });
  await w.gc.run();
  await w.blob('lost');
  w.gc.schedule();
  w.gc.schedule();
  t.equal(w.digests().size, 1);
  w.gc.schedule();
  await until(() => w.digests().size === 0);
  t.same(w.digests(), new Set());
});

t.test('the first run comes without a deletion', async (t) => {
  const w = await world(t, { startupDelayMs: 1 });
  await w.blob('lost');
  w.gc.start();
  await until(() => w.digests().size === 0);
  t.same(w.digests(), new Set());
});

t.test('a deletion makes a run follow by itself; closing ends that', async (t) => {
  const w = await world(t);
  await w.blob('lost');
  w.gc.schedule();
  await until(() => w.digests().size === 0);
  t.same(w.digests(), new Set());
  await w.gc.close();
  await w.gc.close();
  w.gc.schedule();
  await t.rejects(w.gc.run(), { code: 'unavailable' });
});
