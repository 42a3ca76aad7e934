/** Debian's ctr on the services without processes: the same commands on containerd and on gantryd, compared. */
import t from 'tap';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { comparer, imageName, missing, Pair } from '../index.ts';

const skip = missing('ctr', 'containerd', 'runc') ?? false;

t.setTimeout(300_000);
t.test('ctr prints the same for metadata commands', { skip, timeout: 300_000 }, async (t) => {
  const pair = new Pair();
  await pair.start();

  t.test('version and plugins', async (t) => {
    const { stock, ours } = await pair.both(['version']);
    t.equal(ours.code, stock.code);
    t.match(ours.stdout, /Server:\n Version: \S+\n Revision:.*\n UUID: UUID/);
    const plugins = await pair.ctr(pair.ours, ['plugins', 'ls']);
    t.equal(plugins.code, 0);
    t.match(plugins.stdout, /^TYPE ID PLATFORMS STATUS$/m);
    for (const line of [
      'io.containerd.content.v1 content - ok',
      'io.containerd.snapshotter.v1 overlayfs linux/\\S+ ok',
      'io.containerd.snapshotter.v1 native linux/\\S+ ok',
      'io.containerd.metadata.v1 bolt - ok',
      'io.containerd.gc.v1 scheduler - ok',
      'io.containerd.runtime.v2 task linux/\\S+ ok',
      'io.containerd.grpc.v1 tasks - ok',
      'io.containerd.grpc.v1 events - ok',
    ])
      t.match(plugins.stdout, new RegExp(`^${line}$`, 'm'), line);
  });

  t.test('namespaces', async (t) => {
    const same = comparer(t, pair);
    await same(['namespaces', 'ls']);
    await same(['namespaces', 'create', 'spare', 'a=b', 'c=d']);
    await same(['namespaces', 'create', 'spare']);
    await same(['namespaces', 'create', 'not/valid']);
    await same(['namespaces', 'ls']);
    await same(['namespaces', 'ls', '-q']);
    await same(['namespaces', 'label', 'spare', 'a=', 'e=f']);
    await same(['namespaces', 'ls']);
    await same(['namespaces', 'rm', 'spare']);
    await same(['namespaces', 'rm', 'spare']);
  });

  t.test('images', async (t) => {
    const same = comparer(t, pair);
    await same(['images', 'ls']);
    await same(['images', 'import', pair.archive]);
    await same(['images', 'ls']);
    await same(['images', 'ls', '-q']);
    await same(['images', 'label', imageName, 'color=red']);
    await same(['images', 'ls', 'name==nothing']);
    await same(['images', 'ls', 'labels.color==red']);
    await same(['images', 'label', imageName, 'color=']);
    await same(['images', 'tag', imageName, 'docker.io/library/other:v1']);
    await same(['images', 'tag', imageName, 'docker.io/library/other:v1']);
    await same(['images', 'ls']);
    await same(['images', 'rm', 'docker.io/library/other:v1', 'docker.io/library/none:v1']);
    await same(['images', 'check']);
    const target = path.join(pair.dir, 'mnt');
    mkdirSync(target);
    for (const side of [pair.stock, pair.ours]) {
      const mounted = await pair.ctr(side, ['images', 'mount', imageName, target]);
      t.equal(mounted.code, 0, `${side.daemon.name}: images mount`);
      t.ok(existsSync(path.join(target, 'bin/busybox')), 'the image is there');
      const unmounted = await pair.ctr(side, ['images', 'unmount', '--rm', target]);
      t.equal(unmounted.code, 0, `${side.daemon.name}: images unmount`);
      t.notOk(existsSync(path.join(target, 'bin/busybox')));
    }
    await same(['snapshots', 'ls']);
    await same((side) => ['images', 'export', path.join(side.dir, 'out.tar'), imageName]);
    await same((side) => ['images', 'import', path.join(side.dir, 'out.tar')]);
  });

  t.test('content', async (t) => {
    const same = comparer(t, pair);
    await same(['images', 'tag', imageName, 'gone']);
    await same(['images', 'rm', '--sync', 'gone']); // a collection has ended: no garbage is listed below
    const sorted = (text: string) => text.split('\n').map(labelsSorted).toSorted().join('\n');
    const listed = await same(['content', 'ls'], { normalize: sorted });
    await same(['content', 'ls', '-q'], { normalize: sorted });
    const digest = /sha256:[0-9a-f]{64}/.exec(listed.stdout)?.[0] ?? '';
    await same(['content', 'get', digest]);
    await same(['content', 'get', `sha256:${'0'.repeat(64)}`]);
    await same(['content', 'label', digest, 'x=y'], { normalize: labels });
    await same(['content', 'active']);
    await same(['content', 'ingest', 'ref-1'], { input: 'hello' });
    await same(['content', 'ingest', '--expected-digest', `sha256:${'1'.repeat(64)}`, 'ref-2'], { input: 'other' });
    await same(['content', 'ingest', '--expected-size', '3', 'ref-3'], { input: 'other' });
    await same(['content', 'rm', `sha256:${'0'.repeat(64)}`]);
  });

  t.test('snapshots', async (t) => {
    await pair.collectGarbage(); // what is made below is nobody's, and nothing is deleted before it is looked at
    const same = comparer(t, pair);
    const listed = await pair.ctr(pair.stock, ['snapshots', 'ls']);
    const chain = /sha256:[0-9a-f]{64}/.exec(listed.stdout)?.[0] ?? '';
    await same(['snapshots', 'ls']);
    await same(['snapshots', 'tree']);
    await same(['snapshots', 'usage']);
    await same(['snapshots', 'info', chain]);
    await same(['snapshots', 'prepare', 'k1', chain]);
    await same(['snapshots', 'prepare', 'k1', chain]);
    await same(['snapshots', 'prepare', 'k2', 'no-such-parent']);
    await same(['snapshots', 'prepare', 'empty']);
    await same(['snapshots', 'mounts', '/mnt', 'k1']);
    await same(['snapshots', 'mounts', '/mnt', 'empty']);
    await same(['snapshots', 'view', 'v1', chain]);
    await same(['snapshots', 'mounts', '/mnt', 'v1']);
    // A view is garbage to ctr: none is there when something else is removed.
    await same(['snapshots', 'rm', 'v1']);
    await same(['snapshots', 'info', 'k1']);
    await same(['snapshots', 'usage', 'k1']);
    await same(['snapshots', 'commit', 'c1', 'k1']);
    await same(['snapshots', 'commit', 'c1', 'k1']);
    // containerd shows its internal key here.
    const ownKey = (text: string) => text.replace(/NAMESPACE\/\d+\/c1/, 'c1');
    await same(['snapshots', 'mounts', '/mnt', 'c1'], { normalize: ownKey });
    await same(['snapshots', 'prepare', 'k3', 'c1']);
    await same(['snapshots', 'mounts', '/mnt', 'k3']);
    await same(['snapshots', 'view', 'v3', 'c1']);
    await same(['snapshots', 'mounts', '/mnt', 'v3']);
    await same(['snapshots', 'label', 'k3', 'a=b'], { normalize: labels });
    await same(['snapshots', 'info', 'k3']);
    await same(['snapshots', 'ls']);
    await same(['snapshots', 'tree']);
    await same(['snapshots', 'rm', 'c1']);
    await same(['snapshots', 'rm', 'v3']);
    await same(['snapshots', 'rm', 'k3', 'c1', 'empty']);
    await same(['snapshots', 'rm', 'nothing']);
    await same(['snapshots', '--snapshotter', 'native', 'prepare', 'n1']);
    await same(['snapshots', '--snapshotter', 'native', 'ls']);
    await same(['snapshots', '--snapshotter', 'native', 'rm', 'n1']);
    await same(['snapshots', '--snapshotter', 'nothing', 'ls']);
    await same(['snapshots', 'ls']);
  });

  t.test('leases', async (t) => {
    const same = comparer(t, pair);
    await same(['leases', 'create', '--id', 'l1', 'x=y']);
    await same(['leases', 'create', '--id', 'l1']);
    await same(['leases', 'ls']);
    await same(['leases', 'ls', '-q']);
    await same(['leases', 'rm', 'l1']);
    await same(['leases', 'rm', 'l1']);
    await same(['leases', 'rm', '--sync', 'l2']);
  });

  t.test('a namespace in use is not removed, and an emptied one is', async (t) => {
    const same = comparer(t, pair);
    const removed = await pair.both((side) => ['namespaces', 'rm', side.namespace]);
    t.same(removed.ours, removed.stock);
    await same(['images', 'rm', '--sync', imageName]);
    await same(['content', 'ls', '-q'], { normalize: (text) => text.split('\n').toSorted().join('\n') });
    await same(['snapshots', 'ls']);
  });

  t.test('nothing is left on the host', async (t) => {
    t.same(await pair.stop(), []);
  });
});

/** ctr prints a map's entries in any order. */
function labels(text: string): string {
  return text.trim().split(',').toSorted().join(',');
}

/** A row of `content ls` with the labels in its last column in order. */
function labelsSorted(row: string): string {
  const at = row.lastIndexOf(' ') + 1;
  return row.slice(0, at) + row.slice(at).split(',').toSorted().join(',');
}
