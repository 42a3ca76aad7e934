import t from 'tap';
import { NativeSnapshotter } from './native.ts';
import { insideMounts } from './testing/inside-mounts.ts';
import { snapshotterSuite, suitePlace } from './testing/snapshotter-suite.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

snapshotterSuite(t, (root) => new NativeSnapshotter({ root }));

t.test('a copy keeps links, devices, holes, owners, modes and times', { skip }, async (t) => {
  const { snapshots, name } = await suitePlace(t, (root) => new NativeSnapshotter({ root }));
  const first = await snapshots.prepare('ns', name, { key: 'k' });
  insideMounts(
    first,
    `echo x > a; ln a b; ln -s a c; mknod n c 1 3; mkfifo p; truncate -s 1M hole; cp /bin/true s; chown 3:4 s;
     chmod 6755 s; touch -d @1000000000 a`,
  );
  await snapshots.commit('ns', name, { name: 'c', key: 'k' });
  const copy = await snapshots.prepare('ns', name, { key: 'k2', parent: 'c' });
  t.match(copy, [{ type: 'bind', options: ['rbind', 'rw'] }]);
  const list = 'find . -mindepth 1 -printf "%p %y %m %U:%G %n %T@ %s %l\\n" | sort';
  const view = await snapshots.view('ns', name, { key: 'v', parent: 'c' });
  t.equal(insideMounts(copy, list), insideMounts(view, list));
  t.match(insideMounts(copy, list), /\.\/s f 6755 3:4/);
  t.ok(Number(insideMounts(copy, 'stat -c %b hole')) < 100, 'holes stay holes');
});
