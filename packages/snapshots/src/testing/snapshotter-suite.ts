/** What every snapshotter has to keep, seen through `SnapshotStore`; called from each implementation's test. Needs root. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { codeOf } from '@gantry/errors';
import { keys, memoryStore } from '@gantry/store';
import type { Store } from '@gantry/store';
import { SnapshotStore } from '../snapshot-store.ts';
import type { Mount } from '../snapshot.ts';
import type { Snapshotter } from '../snapshotter.ts';
import { insideMounts, unmountBelow } from './inside-mounts.ts';

export interface SuitePlace {
  readonly root: string;
  readonly store: Store;
  readonly backend: Snapshotter;
  readonly snapshots: SnapshotStore;
  readonly name: string;
}

export type MakeSnapshotter = (root: string) => Snapshotter;

type Declare = (title: string, body: (t: Test, place: SuitePlace) => Promise<void>) => void;

const code = async (promise: Promise<unknown>): Promise<string> => promise.then(() => 'ok', codeOf);
const held = (store: Store, lease: string): string[] =>
  [...store.scan(keys.leaseResources('ns', lease))].map(({ key }) => key.slice(3).join(' '));

/** A place to test in, with the leases `l` and `m`; removed with the test. */
export async function suitePlace(t: Test, make: MakeSnapshotter): Promise<SuitePlace> {
  const root = mkdtempSync(path.join(tmpdir(), 'gantry-snapshots-'));
  t.teardown(() => {
    unmountBelow(root);
    rmSync(root, { recursive: true, force: true });
  });
  const store = memoryStore();
  await store.transact((tx) => {
    for (const lease of ['l', 'm']) tx.put(keys.leases('ns', lease), Buffer.from('{}'));
  });
  const backend = make(root);
  const snapshots = new SnapshotStore({ store, snapshotters: [backend] });
  await snapshots.reconcile();
  return { root, store, backend, snapshots, name: backend.name };
}

/** Runs the suite on snapshotters made by `make` in an empty directory. */
export function snapshotterSuite(suite: Test, make: MakeSnapshotter): void {
  const skip = process.getuid?.() === 0 ? false : 'needs root';
  const test: Declare = (title, body) => {
    void suite.test(title, { skip }, async (t) => body(t, await suitePlace(t, make)));
  };
  trees(test);
  states(test);
  leases(test);
  leftovers(test, make);
}

async function layer(
  { snapshots, name }: SuitePlace,
  committed: string,
  parent: string,
  script: string,
): Promise<void> {
  const mounts = await snapshots.prepare('ns', name, { key: `making ${committed}`, parent });
  insideMounts(mounts, script);
  await snapshots.commit('ns', name, { name: committed, key: `making ${committed}` });
}

function trees(test: Declare): void {
  test('a tree shows its layers, the upper over the lower, and changes in it alone', async (t, place) => {
    const { snapshots, name } = place;
    await layer(place, 'one', '', 'echo 1 > a; echo 1 > b; mkdir -p d/e; echo 1 > d/e/f; chmod 1777 d; chown 7:8 d/e');
    await layer(place, 'two', 'one', 'echo 2 > b; echo 2 > c; rm a; rm -r d/e; mkdir d/e; echo 2 > d/e/g');
    const mounts = await snapshots.prepare('ns', name, { key: 'web', parent: 'two' });
    t.equal(
      insideMounts(mounts, 'find . | sort; cat b c d/e/g; stat -c "%a %u" d'),
      '.\n./b\n./c\n./d\n./d/e\n./d/e/g\n2\n2\n2\n1777 0\n',
    );
    insideMounts(mounts, 'echo changed > b; rm c');
    t.same(await snapshots.mounts('ns', name, 'web'), mounts, 'mounts stay the same');
    t.equal(
      insideMounts(await snapshots.mounts('ns', name, 'web'), 'cat b; ls'),
      'changed\nb\nd\n',
      'and keep the changes',
    );
    const view = await snapshots.view('ns', name, { key: 'view', parent: 'two' });
    t.equal(insideMounts(view, 'cat b c'), '2\n2\n', 'the parent is as it was');
    const first = await snapshots.view('ns', name, { key: 'first', parent: 'one' });
    t.equal(insideMounts(first, 'cat a d/e/f; stat -c %u:%g d/e'), '1\n1\n7:8\n');
  });

  test('a view cannot be written', async (t, place) => {
    await layer(place, 'one', '', 'echo 1 > a');
    await layer(place, 'two', 'one', 'echo 2 > b');
    for (const parent of ['', 'one', 'two']) {
      const mounts = await place.snapshots.view('ns', place.name, { key: `view ${parent}`, parent });
      t.throws(() => insideMounts(mounts, 'touch x 2>/dev/null'), `parent ${JSON.stringify(parent)}`);
    }
  });

  test('the root directory is open to everybody and owned as the parent says', async (t, place) => {
    await layer(place, 'one', '', 'chown 5:6 .');
    const fresh = await place.snapshots.prepare('ns', place.name, { key: 'fresh' });
    t.equal(insideMounts(fresh, 'stat -c "%a %u:%g" .'), '755 0:0\n');
    const child = await place.snapshots.prepare('ns', place.name, { key: 'child', parent: 'one' });
    t.equal(insideMounts(child, 'stat -c "%a %u:%g" .'), '755 5:6\n');
  });

  test('thirty layers on top of each other', async (t, place) => {
    for (let n = 1; n <= 30; n++)
      await layer(place, `l${n}`, n === 1 ? '' : `l${n - 1}`, `echo ${n} > f${n}; echo ${n} > top`);
    const mounts = await place.snapshots.prepare('ns', place.name, { key: 'k', parent: 'l30' });
    t.equal(insideMounts(mounts, 'ls | wc -l; cat top f1'), '31\n30\n1\n');
  });

  test('usage counts blocks and inodes of an active snapshot now, of a committed one as it was', async (t, place) => {
    const { snapshots, name } = place;
    const mounts = await snapshots.prepare('ns', name, { key: 'k' });
    const empty = await snapshots.usage('ns', name, 'k');
    insideMounts(mounts, 'head -c 100000 /dev/urandom > big; ln big link; mkdir d; ln -s x s');
    const filled = await snapshots.usage('ns', name, 'k');
    t.equal(filled.inodes - empty.inodes, 3n, 'a hard link is the same inode');
    const blocks = BigInt(
      insideMounts(mounts, 'stat -c %b big d s')
        .split('\n')
        .map(Number)
        .reduce((a, b) => a + b, 0),
    );
    t.ok(filled.size >= empty.size + blocks * 512n - 8192n && filled.size <= empty.size + blocks * 512n + 8192n);
    await snapshots.commit('ns', name, { name: 'c', key: 'k' });
    const committed = await snapshots.usage('ns', name, 'c');
    // What is packed takes a file.
    if (name !== 'erofs') t.same(committed, filled);
    else t.ok(committed.inodes === 1n && committed.size > 100_000n);
    await snapshots.view('ns', name, { key: 'v', parent: 'c' });
    t.same(await snapshots.usage('ns', name, 'v'), { size: 0n, inodes: 0n });
  });
}

function states(test: Declare): void {
  test('prepare needs a free key and a committed parent', async (t, { snapshots, name }) => {
    await snapshots.prepare('ns', name, { key: 'k' });
    t.equal(await code(snapshots.prepare('ns', name, { key: 'k' })), 'already exists');
    t.equal(await code(snapshots.view('ns', name, { key: 'k' })), 'already exists');
    t.equal(await code(snapshots.prepare('ns', name, { key: 'x', parent: 'k' })), 'invalid argument');
    t.equal(await code(snapshots.prepare('ns', name, { key: 'x', parent: 'nope' })), 'not found');
    t.equal(await code(snapshots.prepare('ns', name, { key: '' })), 'invalid argument');
    t.equal(await code(snapshots.prepare('ns', 'nope', { key: 'x' })), 'invalid argument');
    t.equal(await code(snapshots.prepare('ns', '', { key: 'x' })), 'invalid argument');
    await snapshots.prepare('other', name, { key: 'k' });
    t.same(
      [...snapshots.list('ns', name)].map((info) => info.name),
      ['k'],
      'namespaces do not see each other',
    );
  });

  test('one of many concurrent prepares of a key wins', async (t, { snapshots, name, backend }) => {
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, async () => code(snapshots.prepare('ns', name, { key: 'k' }))),
    );
    t.same(outcomes.sort(), [...Array.from({ length: 7 }, () => 'already exists'), 'ok']);
    await snapshots.cleanup(name);
    t.equal((await backend.list()).length, 1, 'the others left no tree');
  });

  test('commit turns a key into a name', async (t, { snapshots, name }) => {
    await snapshots.prepare('ns', name, { key: 'k', labels: { inherited: 'no' } });
    await snapshots.commit('ns', name, { name: 'c', key: 'k', labels: { a: 'b', empty: '' } });
    t.throws(() => snapshots.stat('ns', name, 'k'), { code: 'not found' });
    t.match(snapshots.stat('ns', name, 'c'), { kind: 'committed', name: 'c', parent: '' });
    t.same(snapshots.stat('ns', name, 'c').labels, { a: 'b' });
    await t.rejects(snapshots.mounts('ns', name, 'c'), { code: 'failed precondition' });
    await snapshots.prepare('ns', name, { key: 'k', parent: 'c' });
    await snapshots.view('ns', name, { key: 'v', parent: 'c' });
    t.equal(await code(snapshots.commit('ns', name, { name: 'c', key: 'k' })), 'already exists');
    t.equal(await code(snapshots.commit('ns', name, { name: 'd', key: 'v' })), 'failed precondition');
    t.equal(await code(snapshots.commit('ns', name, { name: 'd', key: 'nope' })), 'not found');
    t.equal(await code(snapshots.commit('ns', name, { name: 'd', key: 'c' })), 'failed precondition');
    t.equal(await code(snapshots.commit('ns', name, { name: '', key: 'k' })), 'invalid argument');
    t.match(snapshots.stat('ns', name, 'k'), { kind: 'active', parent: 'c' }, 'a failed commit changes nothing');
  });

  test('remove refuses a parent and takes the tree from the disk', async (t, { snapshots, name, backend, root }) => {
    await snapshots.prepare('ns', name, { key: 'k' });
    await snapshots.commit('ns', name, { name: 'c', key: 'k' });
    await snapshots.prepare('ns', name, { key: 'child', parent: 'c' });
    t.equal(await code(snapshots.remove('ns', name, 'c')), 'failed precondition');
    await snapshots.remove('ns', name, 'child');
    await snapshots.remove('ns', name, 'c');
    t.equal(await code(snapshots.remove('ns', name, 'c')), 'not found');
    await t.rejects(snapshots.mounts('ns', name, 'c'), { code: 'not found' });
    await snapshots.cleanup(name);
    t.same(await backend.list(), []);
    t.same(readdirSync(path.join(root, 'trash')), []);
  });

  test('what cannot be named in UTF-8, is deep or is read-only is deleted all the same', async (t, {
    snapshots,
    name,
    root,
  }) => {
    const mounts = await snapshots.prepare('ns', name, { key: 'k' });
    insideMounts(
      mounts,
      `touch "$(printf 'bad\\377name')"; mkdir "$(printf '\\376')"; touch "$(printf '\\376/x')"; mkdir ro; touch ro/f; chmod 0 ro;
       ln -s / abs; ln -s .. up; mkfifo p; for i in $(seq 300); do mkdir -p deep/deep; cd deep; done; echo bottom > deep/f`,
    );
    t.ok((await snapshots.usage('ns', name, 'k')).inodes > 300n);
    await snapshots.remove('ns', name, 'k');
    await snapshots.cleanup(name);
    t.same(readdirSync(path.join(root, 'trash')), []);
    t.ok(existsSync('/bin'), 'and nothing else');
  });

  test('labels are updated by mask', async (t, { snapshots, name }) => {
    await snapshots.prepare('ns', name, { key: 'k', labels: { a: '1', b: '2' } });
    t.same((await snapshots.update('ns', name, { name: 'k', labels: { b: '3' } }, ['labels.b'])).labels, {
      a: '1',
      b: '3',
    });
    t.same((await snapshots.update('ns', name, { name: 'k', labels: { c: '4' } })).labels, { c: '4' });
    t.equal(await code(snapshots.update('ns', name, { name: 'k', labels: {} }, ['parent'])), 'invalid argument');
    t.equal(await code(snapshots.update('ns', name, { name: 'nope', labels: {} })), 'not found');
  });
}

function leases(test: Declare): void {
  test('a lease of the request holds what is made, found and committed', async (t, { snapshots, store, name }) => {
    const type = `snapshots/${name}`;
    await snapshots.prepare('ns', name, { key: 'k', lease: 'l' });
    t.same(held(store, 'l'), [`${type} k`]);
    t.equal(await code(snapshots.prepare('ns', name, { key: 'k', lease: 'm' })), 'already exists');
    t.same(held(store, 'm'), [`${type} k`]);
    await snapshots.commit('ns', name, { name: 'c', key: 'k', lease: 'l' });
    t.same(held(store, 'l'), [`${type} c`]);
    await snapshots.remove('ns', name, 'c', 'l');
    t.same(held(store, 'l'), []);
    t.equal(await code(snapshots.prepare('ns', name, { key: 'x', lease: 'nope' })), 'not found');
  });

  test('an unpacker that names its target learns that it exists', async (t, { snapshots, store, name }) => {
    const labels = { 'containerd.io/snapshot.ref': 'chain' };
    await snapshots.prepare('ns', name, { key: 'extract-1', labels });
    await snapshots.commit('ns', name, { name: 'chain', key: 'extract-1' });
    t.equal(await code(snapshots.prepare('ns', name, { key: 'extract-2', labels, lease: 'l' })), 'already exists');
    t.same(held(store, 'l'), [`snapshots/${name} chain`]);
  });
}

function leftovers(test: Declare, make: MakeSnapshotter): void {
  test('a restart removes trees without a record and names records without a tree', async (t, place) => {
    const { snapshots, name, store, root, backend } = place;
    await snapshots.prepare('ns', name, { key: 'kept' });
    await layer(place, 'lost', '', 'echo 1 > a');
    await snapshots.prepare('ns', name, { key: 'remade' });
    await snapshots.flush();
    const [, lostId = '', remadeId = ''] = [...store.scan(keys.snapshots('ns', name))].map(
      ({ value }) => JSON.parse(Buffer.from(value).toString()).id,
    );
    for (const id of [lostId, remadeId]) rmSync(path.join(root, 'snapshots', id), { recursive: true });
    // A prepare that was killed before its record was written.
    await backend.create({ id: '77', kind: 'active', parents: [], labels: {} });
    const after = new SnapshotStore({ store, snapshotters: [make(root)] });
    t.same(await after.reconcile(), {
      broken: [`ns/${name}/lost`],
      removed: [`${name}/77`],
      unknown: [],
      remade: [`ns/${name}/remade`],
      lost: [],
    });
    await after.cleanup(name);
    t.same(readdirSync(path.join(root, 'trash')), []);
    const mounts: Mount[] = await after.prepare('ns', name, { key: 'new' });
    t.not(mounts[0]?.source, (await snapshots.mounts('ns', name, 'kept'))[0]?.source, 'ids are not used twice');
    await after.remove('ns', name, 'lost');
  });

  test('records of a snapshotter that is not loaded are named', async (t, { store }) => {
    const none = new SnapshotStore({ store, snapshotters: [] });
    await store.transact((tx) => {
      const record = { id: '1', kind: 'active', parent: '', labels: {}, createdAtNs: '0', updatedAtNs: '0' };
      tx.put(keys.snapshots('ns', 'zfs', 'k'), Buffer.from(JSON.stringify(record)));
    });
    t.same((await none.reconcile()).unknown, ['ns/zfs/k']);
  });
}
