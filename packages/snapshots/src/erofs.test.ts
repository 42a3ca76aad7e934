import t from 'tap';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { linux, SyscallError } from '@gantry/libc';
import { ErofsSnapshotter, erofsUnusable } from './erofs.ts';
import { insideMounts } from './testing/inside-mounts.ts';
import { snapshotterSuite, suitePlace } from './testing/snapshotter-suite.ts';

const probe = mkdtempSync(path.join(tmpdir(), 'gantry-erofs-'));
const reason = process.getuid?.() === 0 ? await erofsUnusable(probe) : 'needs root';
t.same(readdirSync(probe), [], 'finding out leaves nothing');
rmSync(probe, { recursive: true });
const skip = reason ?? false;

const make = (root: string): ErofsSnapshotter => new ErofsSnapshotter({ root });

if (skip === false) snapshotterSuite(t, make);

t.test('a committed layer is an image, and nothing else of it is left', { skip }, async (t) => {
  const { snapshots, root } = await suitePlace(t, make);
  const mounts = await snapshots.prepare('ns', 'erofs', { key: 'k' });
  insideMounts(mounts, 'echo 1 > a; ln a b; setfattr -n user.x -v y a || true; mknod n c 1 3; touch -d @1.123456789 t');
  await snapshots.commit('ns', 'erofs', { key: 'k', name: 'one' });
  await snapshots.cleanup('erofs');
  t.same(readdirSync(path.join(root, 'snapshots/1')), ['layer.erofs']);
  const top = await snapshots.prepare('ns', 'erofs', { key: 'top', parent: 'one' });
  t.match(top, [{ type: 'overlay' }]);
  t.equal(
    insideMounts(top, 'cat b; stat -c "%h %F" a n; stat -c %.9Y t'),
    '1\n2 regular file\n1 character special file\n1.123456789\n',
  );
  insideMounts(top, 'rm a; rm -r t; mkdir d; echo 2 > d/e');
  await snapshots.commit('ns', 'erofs', { key: 'top', name: 'two' });
  const view = await snapshots.view('ns', 'erofs', { key: 'view', parent: 'two' });
  t.equal(insideMounts(view, 'find . | sort'), '.\n./b\n./d\n./d/e\n./n\n', 'whiteouts are kept');
});

t.test('layers that an earlier process mounted are found, and unmounted with their removal', { skip }, async (t) => {
  const { snapshots, root } = await suitePlace(t, make);
  insideMounts(await snapshots.prepare('ns', 'erofs', { key: 'k' }), 'echo 1 > a');
  await snapshots.commit('ns', 'erofs', { key: 'k', name: 'one' });
  await snapshots.view('ns', 'erofs', { key: 'view', parent: 'one' });
  const mounted = (): number =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(`${root}/`)).length;
  t.equal(mounted(), 1);
  const later = new ErofsSnapshotter({ root });
  t.equal((await later.mounts({ id: '9', kind: 'view', parents: ['1'], labels: {} })).length, 1);
  t.equal(mounted(), 1, 'not mounted twice');
  await snapshots.remove('ns', 'erofs', 'view');
  await snapshots.remove('ns', 'erofs', 'one');
  t.equal(mounted(), 0);
  await snapshots.cleanup('erofs');
  t.notOk(existsSync(path.join(root, 'snapshots/1')));
});

t.test('a kernel that wants block devices gets loop devices', { skip }, async (t) => {
  if (!existsSync('/dev/loop-control')) return void t.comment('no loop devices here');
  const old = {
    ...linux,
    mount: (...words: Parameters<typeof linux.mount>): void => {
      if (words[2] === 'erofs') throw new SyscallError('mount', 15, 'ENOTBLK', 'block device required', '');
      linux.mount(...words);
    },
  };
  const root = mkdtempSync(path.join(tmpdir(), 'gantry-erofs-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const snapshotter = new ErofsSnapshotter({ root, sys: old });
  const request = { id: '1', kind: 'active', parents: [], labels: {} } as const;
  await snapshotter.create(request);
  insideMounts(await snapshotter.mounts(request), 'echo 1 > a');
  await snapshotter.freeze(request);
  const mounts = await snapshotter.mounts({ id: '2', kind: 'view', parents: ['1'], labels: {} });
  t.equal(insideMounts(mounts, 'cat a'), '1\n');
  t.match(execFileSync('findmnt', ['-no', 'SOURCE', path.join(root, 'snapshots/1/lower')]).toString(), /\/dev\/loop/);
  snapshotter.unmountAll();
});
