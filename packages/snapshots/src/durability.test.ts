import t from 'tap';
import type { Test } from 'tap';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf } from '@gantry/errors';
import { keys, memoryStore } from '@gantry/store';
import type { Store } from '@gantry/store';
import { OverlayfsSnapshotter } from './overlayfs.ts';
import { decodeSnapshot } from './records.ts';
import { SnapshotStore } from './snapshot-store.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const name = 'overlayfs';

class Place {
  readonly root: string;
  readonly store: Store = memoryStore();
  syncs = 0;
  /** What the next sync fails with. */
  failure: Error | undefined;
  readonly errors: string[] = [];

  constructor(t: Pick<Test, 'teardown'>) {
    this.root = mkdtempSync(path.join(tmpdir(), 'gantry-durability-'));
    t.teardown(() => rmSync(this.root, { recursive: true, force: true }));
  }

  /** As a process that starts in this boot sees it. */
  async boot(
    boot: string,
  ): Promise<{ snapshots: SnapshotStore; report: Awaited<ReturnType<SnapshotStore['reconcile']>> }> {
    const backend = new OverlayfsSnapshotter({ root: this.root });
    backend.sync = async () => {
      this.syncs += 1;
      const { failure } = this;
      this.failure = undefined;
      if (failure !== undefined) throw failure;
    };
    const onError = (text: string): void => void this.errors.push(text);
    const snapshots = new SnapshotStore({ store: this.store, snapshotters: [backend], boot, onError });
    return { snapshots, report: await snapshots.reconcile() };
  }

  tree(id: string, ...names: string[]): string {
    return path.join(this.root, 'snapshots', id, 'fs', ...names);
  }

  record(key: string) {
    const bytes = this.store.get(keys.snapshots('ns', name, key));
    return bytes && decodeSnapshot(key, bytes);
  }
}

async function layer(place: Place, snapshots: SnapshotStore, committed: string, parent: string): Promise<string> {
  await snapshots.prepare('ns', name, { key: 'making', parent });
  const id = place.record('making')?.id ?? '';
  writeFileSync(place.tree(id, 'file'), 'content');
  await snapshots.commit('ns', name, { name: committed, key: 'making' });
  return id;
}

t.test('commits that follow each other share a sync; one that fails is tried again', { skip }, async (t) => {
  const place = new Place(t);
  const { snapshots } = await place.boot('a');
  await layer(place, snapshots, 'one', '');
  await layer(place, snapshots, 'two', 'one');
  t.equal(place.syncs, 0, 'a commit does not wait');
  t.equal(place.record('two')?.unsynced, 'a');
  place.failure = new Error('EIO');
  t.equal(codeOf(await snapshots.flush().catch((err: unknown) => err)), 'unknown');
  t.match(place.errors, [/EIO/]);
  t.equal(place.record('one')?.unsynced, 'a', 'and nothing is said to be there');
  await snapshots.flush();
  t.equal(place.syncs, 2);
  t.same([place.record('one')?.unsynced, place.record('two')?.unsynced], [undefined, undefined]);
  await snapshots.flush();
  t.equal(place.syncs, 2, 'nothing is left to be synced');
});

t.test('after a crash of the process the sync is made up for', { skip }, async (t) => {
  const place = new Place(t);
  await layer(place, (await place.boot('a')).snapshots, 'one', '');
  const { snapshots, report } = await place.boot('a');
  t.same(report.lost, []);
  await snapshots.flush();
  t.equal(place.syncs, 1);
  t.equal(place.record('one')?.unsynced, undefined);
});

t.test('after a power cut: whole trees stay, others go', { skip }, async (t) => {
  const place = new Place(t);
  const before = await place.boot('a');
  await layer(place, before.snapshots, 'whole', '');
  const short = await layer(place, before.snapshots, 'short', 'whole');
  const above = await layer(place, before.snapshots, 'above', 'short');
  const gone = await layer(place, before.snapshots, 'gone', '');
  truncateSync(place.tree(short, 'file'), 0);
  truncateSync(place.tree(above, 'file'), 3);
  rmSync(place.tree(gone, '..'), { recursive: true });
  const { snapshots, report } = await place.boot('b');
  t.same([...report.lost].sort(), ['ns/overlayfs/above', 'ns/overlayfs/gone', 'ns/overlayfs/short']);
  t.same(
    [...snapshots.list('ns', name)].map((info) => info.name),
    ['whole'],
  );
  t.equal(place.record('whole')?.unsynced, undefined);
  t.equal(readdirSync(path.join(place.root, 'snapshots')).length, 1, 'their trees are gone as well');
  t.same((await place.boot('c')).report.lost, [], 'that was all');
});

t.test('what is built on a lost tree keeps it, and nobody can use it', { skip }, async (t) => {
  const place = new Place(t);
  const before = await place.boot('a');
  const id = await layer(place, before.snapshots, 'one', '');
  await before.snapshots.prepare('ns', name, { key: 'web', parent: 'one' });
  truncateSync(place.tree(id, 'file'), 0);
  const { snapshots, report } = await place.boot('b');
  t.same(report.lost, ['ns/overlayfs/one']);
  const refusals = [
    snapshots.prepare('ns', name, { key: 'other', parent: 'one' }),
    (async () => snapshots.mounts('ns', name, 'web'))(),
  ];
  for (const refused of refusals) {
    await t.rejects(refused, { code: 'data loss', message: /lost files when the power went: remove the image/ });
  }
  await snapshots.remove('ns', name, 'web');
  await snapshots.remove('ns', name, 'one');
  t.same([...snapshots.list('ns', name)], []);
});

t.test('an active snapshot whose directory never reached the disk begins again', { skip }, async (t) => {
  const place = new Place(t);
  const before = await place.boot('a');
  await layer(place, before.snapshots, 'one', '');
  await before.snapshots.flush();
  await before.snapshots.prepare('ns', name, { key: 'web', parent: 'one' });
  const id = place.record('web')?.id ?? '';
  rmSync(place.tree(id, '..'), { recursive: true });
  const { snapshots, report } = await place.boot('b');
  t.same(report.remade, ['ns/overlayfs/web']);
  t.same(report.broken, []);
  t.match(await snapshots.mounts('ns', name, 'web'), [{ type: 'overlay' }]);
  t.same(readdirSync(place.tree(id)), []);
});
