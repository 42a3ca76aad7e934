/** Debian's ctr with a registry, and what it does with blobs and layers itself: on containerd and on gantryd, compared. */
import t from 'tap';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { registryMissing, startRegistry } from '@gantry/images/testing';
import { comparer, imageName, missing, Pair, run } from '../index.ts';

const skip = registryMissing ?? missing('ctr', 'containerd', 'runc', 'busybox') ?? false;
const sorted = (text: string): string => text.split('\n').map(wordsSorted).toSorted().join('\n');
/** What ctr shows of its progress depends on when it looks; what it came to is looked at afterwards. */
const progress = (text: string): string => {
  const passing = /-sha256:|context canceled|elapsed|B\/s|\[[-+]*\]|waiting|resolv|unpacking|^\s*$/;
  const lines = text.split('\n').filter((line) => !passing.test(line));
  return lines.join('\n').replaceAll(/done: [\d.]+m?s/g, 'done');
};

t.setTimeout(300_000);
t.test('ctr with a registry', { skip, timeout: 300_000 }, async (t) => {
  const pair = new Pair();
  await pair.start();
  const registry = await startRegistry(path.join(pair.dir, 'registry'));
  t.teardown(() => registry.stop());
  const remote = `${registry.host}/box:1`;
  const plain = '--plain-http';
  await pair.both(['images', 'import', pair.archive]);

  await t.test('push, pull, fetch', async (t) => {
    const same = comparer(t, pair);
    await same(['images', 'tag', imageName, remote]);
    await same(['images', 'push', plain, remote], { normalize: progress });
    await same(['images', 'push', plain, `${registry.host}/none:1`]);
    await same(['images', 'rm', '--sync', remote, imageName]);
    await same(['content', 'ls', '-q'], { normalize: sorted });
    await same(['images', 'pull', plain, '--print-chainid', '--label', 'a=b', remote], { normalize: progress });
    await same(['images', 'pull', plain, '--all-platforms', '--max-concurrent-downloads', '1', remote], {
      normalize: progress,
    });
    await same(['images', 'ls']);
    await same(['images', 'check']);
    await same(['run', '--rm', remote, 'r1', 'echo', 'pulled']);
    await same(['images', 'pull', plain, `${registry.host}/none:1`]);
    await same(['images', 'pull', plain, '--platform', 'linux/riscv64', remote], { normalize: progress });
    await same(['images', 'pull', plain, '--snapshotter', 'native', remote], { normalize: progress });
    await same(['snapshots', '--snapshotter', 'native', 'ls']);
    await same(['content', 'fetch', plain, '--all-metadata', remote], { normalize: progress });
    await same(['content', 'fetch', plain, '--metadata-only', remote], { normalize: progress });
    await same(['content', 'ls'], { normalize: sorted });
    const { stdout } = await pair.ctr(pair.stock, ['images', 'ls']);
    const digest = /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? '';
    await same(['content', 'fetch-object', plain, `${registry.host}/box@${digest}`]);
    await same(
      (side) => {
        const copy = `${registry.host}/copy-of-${path.basename(side.dir)}:1`;
        return ['content', 'push-object', plain, copy, digest, 'application/octet-stream'];
      },
      { normalize: (text) => text.replaceAll(/copy-of-\w/g, 'copy') },
    );
  });

  await t.test('blobs by hand', async (t) => {
    await pair.collectGarbage(); // what is made below is nobody's
    const same = comparer(t, pair);
    const digest = 'sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e730433 62938b9824'.replace(' ', '');
    await same(['content', 'ingest', '--expected-size', '5', '--expected-digest', digest, 'hello'], { input: 'hello' });
    await same(['content', 'ingest', '--expected-digest', digest, 'again'], { input: 'hello' });
    await same(['content', 'ls', '-q'], { normalize: sorted });
    await same(['content', 'edit', '--editor', 'true', digest]);
    await same(['content', 'edit', '--editor', '/no/such/editor', digest]);
    await same(['content', 'rm', digest, `sha256:${'0'.repeat(64)}`]);
    await same(['content', 'prune', 'references', '--dry'], { normalize: sorted });
    await same(['content', 'prune', 'references'], { normalize: sorted });
  });

  await t.test('archives and other forms of images', async (t) => {
    const same = comparer(t, pair);
    const file = (name: string) => (side: { readonly dir: string }) => path.join(side.dir, name);
    await same((side) => ['images', 'export', '--skip-manifest-json', file('a.tar')(side), remote]);
    await same((side) => ['images', 'export', '--all-platforms', file('b.tar')(side), remote]);
    await same((side) => ['images', 'export', '--platform', 'linux/riscv64', file('c.tar')(side), remote]);
    for (const name of ['a.tar', 'b.tar']) {
      const [stock, ours] = await Promise.all(
        [pair.stock, pair.ours].map((side) => run('tar', ['-tf', path.join(side.dir, name)])),
      );
      t.same(ours?.stdout, stock?.stdout, `${name}: the members`);
    }
    await same((side) => ['images', 'import', '--no-unpack', '--base-name', 'docker.io/l/x', file('a.tar')(side)], {
      normalize: (text) => text.replaceAll(/\d{4}-\d\d-\d\d/g, 'DATE'),
    });
    await same((side) => ['images', 'import', '--digests', '--base-name', 'docker.io/l/y', file('a.tar')(side)]);
    await same((side) => ['images', 'import', '--index-name', 'docker.io/l/z:1', file('a.tar')(side)]);
    await same((side) => ['images', 'import', '--platform', 'linux/riscv64', file('b.tar')(side)]);
    await same((side) => ['images', 'import', '--compress-blobs', '--snapshotter', 'native', file('b.tar')(side)]);
    await same(['images', 'ls'], { normalize: sorted });
    await same(['images', 'convert', '--oci', remote, 'docker.io/l/oci:1']);
    await same(['images', 'convert', '--uncompress', remote, 'docker.io/l/plain:1']);
    await same(['images', 'ls', 'name~=l/'], { normalize: sorted });
    await same(['run', '--rm', 'docker.io/l/plain:1', 'r2', 'true']);
    await same(['images', 'tag', '--force', remote, 'docker.io/l/plain:1']);
  });

  await t.test('layers', async (t) => {
    const same = comparer(t, pair);
    const { stdout } = await pair.ctr(pair.stock, ['snapshots', 'ls']);
    const chain = /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? '';
    await pair.collectGarbage();
    const targets = [pair.stock, pair.ours].map((side) => path.join(side.dir, 'mnt'));
    for (const dir of targets) mkdirSync(dir);
    for (const side of [pair.stock, pair.ours]) {
      const target = path.join(side.dir, 'mnt');
      const on = ['-a', side.daemon.address, '-n', side.namespace, 'snapshots'];
      const { stdout: command } = await run('ctr', [...on, 'prepare', '--target', target, 'w1', chain]);
      // Diffs end leases, and what is nobody's goes then.
      t.equal((await run('ctr', [...on, 'label', 'w1', 'containerd.io/gc.root=yes'])).code, 0);
      const [program = '', ...words] = command.trim().split(/\s+/);
      t.equal((await run(program, words)).code, 0, `${side.daemon.name}: ${command}`);
      t.ok(existsSync(path.join(target, 'bin/busybox')));
      writeFileSync(path.join(target, 'new'), 'a file\n');
      t.equal((await run('umount', [target])).code, 0);
    }
    await same(['snapshots', 'diff', '--media-type', 'application/vnd.oci.image.layer.v1.tar', 'w1'], {
      normalize: (text) => text.replaceAll(/[^ -~]+/g, ' ').replaceAll(/\b\d{8,}\b/g, 'N'),
    });
    await same(['snapshots', 'diff', '--keep', '--label', 'x=y', 'w1', 'none']);
    await same(['snapshots', 'diff', 'none']);
    await same(['snapshots', 'commit', 'done', 'w1']);
    await pair.collectGarbage(); // it has no label
    await same(['snapshots', 'rm', 'done', 'w1']);
    const target = /sha256:[0-9a-f]{64}/.exec((await pair.ctr(pair.stock, ['images', 'ls', `name==${remote}`])).stdout);
    await same(['snapshots', 'unpack', target?.[0] ?? '']);
    await same(['snapshots', 'unpack', '--snapshotter', 'native', target?.[0] ?? '']);
    await same(['snapshots', 'unpack', `sha256:${'0'.repeat(64)}`]);
  });

  await t.test('the rest', async (t) => {
    const same = comparer(t, pair);
    await same(['oci', 'spec'], { normalize: (text) => text.replaceAll(/"hostname": ".*"/g, '') });
    await same((side) => ['install', '--path', path.join(side.dir, 'opt-x'), remote]);
    await same((side) => ['install', '--path', path.join(side.dir, 'opt-y'), 'docker.io/l/none:1']);
    await same(['leases', 'create', '--id', 'l9', '--expires', '1h']);
    await same(['leases', 'ls'], { normalize: (text) => text.replaceAll(/gc.expire=\S+/g, 'gc.expire=T') });
    await same(['leases', 'rm', '--sync', 'l9']);
    await same(['namespaces', 'create', 'spare2']);
    await same(['namespaces', 'rm', '--cgroup', 'spare2']);
    await same(['plugins', 'ls', '-q', 'type==io.containerd.snapshotter.v1,id==overlayfs']);
    await same(['plugins', 'ls', 'id=='], { normalize: (text) => text.replace(/(: invalid argument)+/, '$1') });
    await same(['no-such-command']);
  });

  await t.test('nothing is left on the host', async (t) => {
    await registry.stop();
    t.same(await pair.stop(), []);
  });
});

function wordsSorted(row: string): string {
  const at = row.lastIndexOf(' ') + 1;
  return row.slice(0, at) + row.slice(at).split(',').toSorted().join(',');
}
