import t from 'tap';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { linux } from '@gantry/libc';
import { OverlayfsSnapshotter, overlayfsUnusable } from './overlayfs.ts';
import { insideMounts } from './testing/inside-mounts.ts';
import { snapshotterSuite } from './testing/snapshotter-suite.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

snapshotterSuite(t, (root) => new OverlayfsSnapshotter({ root }));

t.test('mounts are those containerd gives', (t) => {
  const snapshotter = new OverlayfsSnapshotter({ root: '/r', mountOptions: ['index=off'] });
  const at = (id: number): string => `/r/snapshots/${id}/fs`;
  const mounts = (kind: 'active' | 'view', parents: string[]): unknown =>
    snapshotter.mounts({ id: '9', kind, parents, labels: {} });
  t.same(mounts('active', []), [{ type: 'bind', source: at(9), options: ['rw', 'rbind'] }]);
  t.same(mounts('view', []), [{ type: 'bind', source: at(9), options: ['ro', 'rbind'] }]);
  t.same(mounts('view', ['3']), [{ type: 'bind', source: at(3), options: ['ro', 'rbind'] }]);
  t.same(mounts('view', ['3', '1']), [
    { type: 'overlay', source: 'overlay', options: ['index=off', `lowerdir=${at(3)}:${at(1)}`] },
  ]);
  t.same(mounts('active', ['3', '1']), [
    {
      type: 'overlay',
      source: 'overlay',
      options: ['index=off', 'workdir=/r/snapshots/9/work', `upperdir=${at(9)}`, `lowerdir=${at(3)}:${at(1)}`],
    },
  ]);
  t.end();
});

t.test('volatile overlays can be mounted again, and only what can be written is one', { skip }, async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'gantry-overlay-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const snapshotter = new OverlayfsSnapshotter({ root, extraOptions: ['volatile', 'metacopy=off'] });
  await snapshotter.create({ id: '1', kind: 'active', parents: [], labels: {} });
  const web = { id: '2', kind: 'active', parents: ['1'], labels: {} } as const;
  await snapshotter.create(web);
  for (const word of ['first', 'second']) {
    const mounts = snapshotter.mounts(web);
    t.match(mounts[0]?.options.slice(0, 2), ['volatile', 'metacopy=off']);
    insideMounts(mounts, `echo ${word} >> file`);
  }
  t.equal(insideMounts(snapshotter.mounts(web), 'cat file'), 'first\nsecond\n');
  const view = snapshotter.mounts({ id: '3', kind: 'view', parents: ['2', '1'], labels: {} });
  t.notMatch(view[0]?.options, ['volatile']);
});

t.test('directories have the modes containerd gives them, whatever the umask', { skip }, async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'gantry-overlay-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const umask = process.umask(0o077);
  t.teardown(() => process.umask(umask));
  const snapshotter = new OverlayfsSnapshotter({ root });
  await snapshotter.create({ id: '1', kind: 'active', parents: [], labels: {} });
  await snapshotter.create({ id: '2', kind: 'view', parents: [], labels: {} });
  const mode = (...names: string[]): string => (statSync(path.join(root, ...names)).mode & 0o7777).toString(8);
  t.same([mode('snapshots', '1'), mode('snapshots', '1', 'fs'), mode('snapshots', '1', 'work')], ['700', '755', '711']);
  t.same(readdirSync(path.join(root, 'snapshots', '2')), ['fs'], 'a view has nothing to work in');
});

t.test('more layers than the kernel takes are refused before anything is made', async (t) => {
  const snapshotter = new OverlayfsSnapshotter({ root: '/nonexistent' });
  const parents = Array.from({ length: 501 }, (_, index) => String(index + 1));
  const refused = snapshotter.create({ id: '999', kind: 'active', parents, labels: {} });
  await t.rejects(refused, { code: 'failed precondition', message: /501 layers/ });
});

t.test('whether overlays work is found out without mounting anything', { skip }, async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'gantry-overlay-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  t.equal(await overlayfsUnusable(root), undefined);
  const without = {
    ...linux,
    fsopen: (): number => {
      throw new Error('ENODEV: no such device');
    },
  };
  t.match(await overlayfsUnusable(root, without), /ENODEV/);
  t.same(readdirSync(root), [], 'nothing stays behind');
});
