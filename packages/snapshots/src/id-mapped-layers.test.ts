import t from 'tap';
import type { Test } from 'tap';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AT_FDCWD, linux, O_RDONLY, SyscallError } from '@gantry/libc';
import { ErofsSnapshotter, erofsUnusable } from './erofs.ts';
import { idMapsUnusable } from './id-mapped-layers.ts';
import { OverlayfsSnapshotter } from './overlayfs.ts';
import type { Mount } from './snapshot.ts';
import type { Snapshotter } from './snapshotter.ts';
import { copyMapped } from './testing/copy-mapped.ts';
import { insideMounts } from './testing/inside-mounts.ts';
import { suitePlace } from './testing/snapshotter-suite.ts';

function scratch(t: Test): string {
  const root = mkdtempSync(path.join(tmpdir(), 'gantry-ids-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

const isRoot = process.getuid?.() === 0;
const probe = mkdtempSync(path.join(tmpdir(), 'gantry-ids-'));
const reason = isRoot ? await idMapsUnusable(probe) : 'needs root';
const erofsReason = reason ?? (await erofsUnusable(probe));
t.same(readdirSync(probe), [], 'finding out leaves nothing');
rmSync(probe, { recursive: true });
const skip = reason ?? false;

const [uid, gid] = ['0:100000:65536', '0:200000:10,10:300000:5'];
const labels = { 'containerd.io/snapshot/uidmapping': uid, 'containerd.io/snapshot/gidmapping': gid };
const options = [`uidmap=${uid}`, `gidmap=${gid}`];

const capability = 'security.capability';

/** CAP_NET_RAW, permitted and effective, in the namespace of this root; of the initial one without (capabilities(7)). */
function capabilityOf(rootId: number | undefined): Buffer {
  const value = Buffer.alloc(rootId === undefined ? 20 : 24);
  value.writeUInt32LE(rootId === undefined ? 0x0200_0001 : 0x0300_0001, 0);
  value.writeUInt32LE(1 << 13, 4);
  if (rootId !== undefined) value.writeUInt32LE(rootId, 20);
  return value;
}

function setAttribute(file: string, name: string, value: Buffer): void {
  const fd = linux.openat(AT_FDCWD, file, O_RDONLY);
  linux.fsetxattr(fd, name, value, 0);
  linux.close(fd);
}

/** The attribute in the layers of a view, the nearest first. */
function viewedAttribute(view: readonly Mount[], file: string, name: string): Buffer | undefined {
  const lower = view[0]?.options.find((option) => option.startsWith('lowerdir='))?.slice('lowerdir='.length) ?? '';
  const fd = linux.openat(AT_FDCWD, path.join(lower.split(':')[0] ?? '', file), O_RDONLY);
  const value = linux.fgetxattr(fd, name);
  linux.close(fd);
  return value;
}

t.test('mounts say whose ids are whose where the kernel can map them, and nothing where it cannot', (t) => {
  const at = (id: number): string => `/r/snapshots/${id}/fs`;
  for (const copy of [copyMapped, undefined]) {
    const snapshotter = new OverlayfsSnapshotter({ root: '/r', mountOptions: ['index=off'], copyMapped: copy });
    const first = copy === undefined ? [] : options;
    const mounts = (kind: 'active' | 'view', parents: string[]): unknown =>
      snapshotter.mounts({ id: '9', kind, parents, labels });
    t.same(mounts('active', []), [{ type: 'bind', source: at(9), options: [...first, 'rw', 'rbind'] }]);
    t.same(mounts('view', ['3']), [{ type: 'bind', source: at(3), options: [...first, 'ro', 'rbind'] }]);
    const lower = `lowerdir=${at(3)}:${at(1)}`;
    t.same(mounts('view', ['3', '1']), [
      { type: 'overlay', source: 'overlay', options: [...first, 'index=off', lower] },
    ]);
    const own = ['workdir=/r/snapshots/9/work', `upperdir=${at(9)}`];
    t.same(mounts('active', ['3', '1']), [
      { type: 'overlay', source: 'overlay', options: [...first, 'index=off', ...own, lower] },
    ]);
  }
  t.end();
});

t.test(
  'the upper directory belongs to the mapped root; a tree without layers below to the container’s',
  { skip },
  async (t) => {
    const root = scratch(t);
    const ownerOf = (id: number): number[] => {
      const { uid, gid } = statSync(path.join(root, 'snapshots', String(id), 'fs'));
      return [uid, gid];
    };
    const mapping = new OverlayfsSnapshotter({ root, copyMapped });
    const old = new OverlayfsSnapshotter({ root });
    await mapping.create({ id: '1', kind: 'active', parents: [], labels });
    await mapping.create({ id: '2', kind: 'active', parents: ['1'], labels });
    await old.create({ id: '3', kind: 'active', parents: [], labels });
    await old.create({ id: '4', kind: 'active', parents: ['1'], labels });
    t.same([1, 2, 3, 4].map(ownerOf), [
      [0, 0],
      [100000, 200000],
      [100000, 200000],
      [100000, 200000],
    ]);
  },
);

t.test('maps that cannot be are refused, and nothing is made', { skip: isRoot ? false : 'needs root' }, async (t) => {
  const make = (root: string): Snapshotter => new OverlayfsSnapshotter({ root, copyMapped });
  const { snapshots, root } = await suitePlace(t, make);
  const bad = [
    { ...labels, 'containerd.io/snapshot/uidmapping': '1:5:1' },
    { 'containerd.io/snapshot/gidmapping': gid },
  ];
  for (const labels of bad) {
    const refused = snapshots.prepare('ns', 'overlayfs', { key: 'k', labels });
    await t.rejects(refused, { code: 'invalid argument', message: /uidmapping/ });
  }
  t.same([...snapshots.list('ns', 'overlayfs')], []);
  t.same(await make(root).list(), []);
  await snapshots.prepare('ns', 'overlayfs', { key: 'k' });
  const change = { name: 'k', labels: { 'containerd.io/snapshot/uidmapping': '0:1:1' } };
  await t.rejects(snapshots.update('ns', 'overlayfs', change, ['labels']), { code: 'invalid argument' });
  t.same(snapshots.stat('ns', 'overlayfs', 'k').labels, {});
});

t.test(
  'what an image says of maps, in the annotations of a layer, is dropped',
  { skip: isRoot ? false : 'needs root' },
  async (t) => {
    const { snapshots } = await suitePlace(t, (root) => new OverlayfsSnapshotter({ root, copyMapped }));
    await snapshots.prepare('ns', 'overlayfs', { key: 'base' });
    await snapshots.commit('ns', 'overlayfs', { key: 'base', name: 'parent' });
    for (const maps of [labels, { ...labels, 'containerd.io/snapshot/gidmapping': 'nonsense' }]) {
      const given = { ...maps, 'containerd.io/snapshot.ref': 'chain', other: 'kept' };
      const [mount] = await snapshots.prepare('ns', 'overlayfs', { key: 'extract', parent: 'parent', labels: given });
      t.notMatch(mount?.options.join(), 'idmap');
      const kept = { 'containerd.io/snapshot.ref': 'chain', other: 'kept' };
      t.same(snapshots.stat('ns', 'overlayfs', 'extract').labels, kept);
      await snapshots.remove('ns', 'overlayfs', 'extract');
    }
  },
);

const kinds: readonly (readonly [string, string | false, (root: string) => Snapshotter])[] = [
  ['overlayfs', skip, (root) => new OverlayfsSnapshotter({ root, copyMapped })],
  ['erofs', erofsReason ?? false, (root) => new ErofsSnapshotter({ root, copyMapped })],
];
for (const [name, skipped, make] of kinds) {
  t.test(`what a container wrote on ${name} is committed with its own ids`, { skip: skipped }, async (t) => {
    const { snapshots, root } = await suitePlace(t, make);
    insideMounts(
      await snapshots.prepare('ns', name, { key: 'k' }),
      'echo 1 > a; mkdir d gone; echo 1 > d/b; echo 1 > gone/c',
    );
    await snapshots.commit('ns', name, { key: 'k', name: 'one' });
    await snapshots.prepare('ns', name, { key: 'top', parent: 'one', labels });
    // As the container's processes leave it there.
    const upper = path.join(root, 'snapshots/2/fs');
    const script = `echo 2 > new; ln new new2; chown 100007:300001 new; chmod 4755 new; mkdir d; chown 100000:200000 d
      echo 3 > d/e; chown 100000:200009 d/e; mknod gone c 0 0; echo 4 > foreign
      ln -s nowhere soft; chown -h 100001:200001 soft; chown 165536:5 foreign`;
    execFileSync('sh', ['-ec', script], { cwd: upper });
    setAttribute(path.join(upper, 'd'), 'trusted.overlay.opaque', Buffer.from('y'));
    setAttribute(path.join(upper, 'd/e'), capability, capabilityOf(100000));
    await snapshots.commit('ns', name, { key: 'top', name: 'two' });
    await snapshots.cleanup(name);
    t.same(readdirSync(path.join(root, 'snapshots/2')).includes('layer'), false);
    const view = await snapshots.view('ns', name, { key: 'view', parent: 'two' });
    t.equal(
      insideMounts(
        view,
        'stat -c "%n %u:%g %a" . d d/e foreign new new2 soft; stat -c %h new; find . | sort | tr "\\n" " "; cat new',
      ),
      '. 0:0 755\nd 0:0 755\nd/e 0:9 644\nforeign 65534:65534 644\nnew 7:11 4755\nnew2 7:11 4755\nsoft 1:1 777\n2\n' +
        '. ./a ./d ./d/e ./foreign ./new ./new2 ./soft 2\n',
    );
    t.notMatch(insideMounts(view, 'ls d'), 'b', 'what the layer hides stays hidden');
    t.same(
      viewedAttribute(view, 'd/e', capability),
      capabilityOf(undefined),
      'the capability is the root’s that layers have',
    );
    const { size, inodes } = await snapshots.usage('ns', name, 'two');
    t.ok(size > 0n && (name === 'erofs' ? inodes === 1n : inodes === 7n), `${inodes} inodes`);
  });
}

t.test('a commit that a crash broke off is finished, or is as if it had not begun', { skip }, async (t) => {
  const root = scratch(t);
  const snapshotter = new OverlayfsSnapshotter({ root, copyMapped });
  await snapshotter.create({ id: '1', kind: 'active', parents: [], labels: {} });
  const request = { id: '2', kind: 'active', parents: ['1'], labels } as const;
  await snapshotter.create(request);
  const upper = path.join(root, 'snapshots/2/fs');
  execFileSync('sh', ['-ec', 'echo 1 > a; chown 100001:200001 a'], { cwd: upper });
  await snapshotter.freeze(request);
  t.equal(lstatSync(path.join(upper, 'a')).uid, 100001, 'active as before');
  execFileSync('sh', ['-ec', 'echo 2 > b; chown 100002:200002 b'], { cwd: upper });
  await snapshotter.freeze(request);
  snapshotter.thin('2');
  const { uid, gid } = lstatSync(path.join(upper, 'b'));
  t.same([uid, gid], [2, 2], 'what was written after the first attempt is there');
  snapshotter.thin('2');
  t.same(readdirSync(upper).toSorted(), ['a', 'b'], 'once is enough');
  await snapshotter.cleanup();
});

t.test('whether ids can be mapped is found out by mapping some', { skip }, async (t) => {
  const root = scratch(t);
  const without = {
    ...linux,
    mountSetattr: (): void => {
      throw new SyscallError('mount_setattr', 22, 'EINVAL', 'invalid argument', '');
    },
  };
  t.match(await idMapsUnusable(root, without), /mount_setattr/);
  // A kernel that takes attached layers only is believed its version.
  const attached = {
    ...linux,
    fsconfigCreate: (): void => {
      throw new SyscallError('fsconfig', 22, 'EINVAL', 'invalid argument', '');
    },
  };
  t.equal(await idMapsUnusable(root, attached), undefined);
  t.same(readdirSync(root), [], 'nothing stays behind');
});
