/** Bad input: the right gRPC code, a sentence that names the fault, and nothing left behind. */
import t from 'tap';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { containers, content, namespaces, snapshots, tasks, version } from '@gantry/api';
import {
  busyboxLayer,
  ctr,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  removeScratch,
  Rpc,
  scratchDirectory,
  scratchNamespace,
  tar,
} from '../index.ts';
import type { ImageOptions, TarEntry } from '../index.ts';

const skip = missing('ctr') ?? false;
const specUrl = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
const invalidArgument = 3;
const notFound = 5;
const resourceExhausted = 8;
const failedPrecondition = 9;

t.setTimeout(300_000);
t.test('bad input to gantryd', { skip, timeout: 280_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace();
  const daemon = gantryd(dir);
  await daemon.start();
  const rpc = new Rpc(daemon.address);
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  t.equal((await ctr(daemon, namespace, ['images', 'import', archive])).code, 0);
  // A baseline of what is on disk; every refused request must leave it as it is.
  const onDisk = () => ({
    bundles: names(path.join(daemon.state, 'shims', namespace)),
    sockets: names(path.join(daemon.state, 's')),
  });
  const clean = onDisk();

  const container = (id: string, fields: object = {}) =>
    rpc.call(
      containers.ContainersService,
      'create',
      containers.CreateContainerRequest.create({
        container: {
          id,
          runtime: { name: 'io.containerd.runc.v2' },
          spec: { typeUrl: specUrl, value: Buffer.from(JSON.stringify(minimalSpec())) },
          ...fields,
        },
      }),
      { namespace },
    );
  const task = (id: string, fields: object = {}) =>
    rpc.failure(tasks.TasksService, 'create', tasks.CreateTaskRequest.create({ containerId: id, ...fields }), {
      namespace,
    });

  t.test('a config.json that is not one', async (t) => {
    const cases: readonly (readonly [string, Buffer, RegExp])[] = [
      ['truncated', Buffer.from('{"ociVersion": "1.0.2", "process": {'), /JSON|json/],
      ['not an object', Buffer.from('[1, 2]'), /object/],
      ['no version', Buffer.from('{}'), /ociVersion/],
      [
        'wrong type',
        Buffer.from('{"ociVersion":"1.0.2","process":{"args":"sh","cwd":"/"},"root":{"path":"r"}}'),
        /process\.args/,
      ],
      [
        'relative cwd',
        Buffer.from(JSON.stringify(minimalSpec({ process: { args: ['x'], cwd: 'a' } }))),
        /process\.cwd/,
      ],
      [
        'odd namespace',
        Buffer.from(JSON.stringify(minimalSpec({ linux: { namespaces: [{ type: 'sky' }] } }))),
        /linux\.namespaces\[0\]/,
      ],
    ];
    for (const [name, value, names] of cases) {
      const id = `spec-${name.replaceAll(' ', '-')}`;
      await container(id, { spec: { typeUrl: specUrl, value } });
      const failure = await task(id);
      t.match(failure.message, names, `${name}: ${failure.message}`);
      t.equal(failure.code, invalidArgument, name);
      t.same(onDisk(), clean, `${name}: nothing is left`);
    }
  });

  t.test('a runtime nobody knows', async (t) => {
    await container('odd-runtime', { runtime: { name: 'io.containerd.nothing.v1' } });
    const failure = await task('odd-runtime');
    t.match(failure.message, /io\.containerd\.nothing\.v1/);
    t.same(onDisk(), clean);
  });

  t.test('a rootfs that is not there', async (t) => {
    await container('no-rootfs', {
      spec: {
        typeUrl: specUrl,
        value: Buffer.from(JSON.stringify(minimalSpec({ root: { path: '/no/such/rootfs' } }))),
      },
    });
    const failure = await task('no-rootfs');
    t.match(failure.message, /\/no\/such\/rootfs/);
    t.same(onDisk(), clean);
    await container('no-mount');
    const missingMount = await task('no-mount', {
      rootfs: [{ type: 'bind', source: '/no/such/source', options: ['rbind'] }],
    });
    t.match(missingMount.message, /\/no\/such\/source/);
    const odd = await task('no-mount', {
      rootfs: [{ type: 'overlay', source: 'overlay', options: ['lowerdir=/no/such'] }],
    });
    t.match(odd.message, /overlay|lowerdir|no\/such/);
    t.same(onDisk(), clean);
  });

  t.test('images whose bytes are not what they say', async (t) => {
    const flip = (blob: Buffer): Buffer => {
      const copy = Buffer.from(blob);
      copy.writeUInt8(copy.readUInt8(copy.length - 9) ^ 0xff, copy.length - 9);
      return copy;
    };
    const lies: readonly (readonly [string, ImageOptions])[] = [
      ['a corrupt layer', { corrupt: (blob, kind) => (kind === 'layer' ? flip(blob) : blob) }],
      ['a corrupt config', { corrupt: (blob, kind) => (kind === 'config' ? flip(blob) : blob) }],
      ['a corrupt manifest', { corrupt: (blob, kind) => (kind === 'manifest' ? flip(blob) : blob) }],
      ['a lying diff id', { diffIds: [`sha256:${'a'.repeat(64)}`] }],
      ['a layer that is no gzip', { layers: [Buffer.from('no tar at all')] }],
      ['a truncated tar', { layers: [busyboxLayer().subarray(0, 700_000)], gzip: false }],
    ];
    for (const [name, options] of lies) {
      const own = scratchNamespace('x');
      const file = path.join(dir, 'lie.tar');
      writeFileSync(file, ociArchive({ ...options, name: 'docker.io/library/lie:latest' }));
      const imported = await ctr(daemon, own, ['images', 'import', file]);
      t.not(imported.code, 0, `${name}: ${imported.stdout}${imported.stderr}`);
      const { stdout } = await ctr(daemon, own, ['snapshots', 'ls']);
      t.notMatch(stdout, /Committed/, `${name}: no layer was committed`);
      await emptyNamespace(own);
    }
  });

  t.test('layers that climb out', async (t) => {
    const canary = path.join(dir, 'canary');
    mkdirSync(canary, { mode: 0o700 });
    writeFileSync(path.join(canary, 'file'), 'untouched', { mode: 0o600 });
    const up = '../'.repeat(30);
    const out = canary.slice(1);
    const file = (name: string): TarEntry => ({ name, body: 'evil', mode: 0o777 });
    const attacks: readonly (readonly [string, readonly TarEntry[]])[] = [
      ['dot dot', [file(`${up}${out}/dotdot`)]],
      ['absolute', [file(`/${out}/absolute`)]],
      ['through an absolute symlink', [{ name: 'way', type: 'symlink', body: canary }, file('way/through')]],
      ['through a relative symlink', [{ name: 'way', type: 'symlink', body: `${up}${out}` }, file('way/through')]],
      ['hard link outside', [{ name: 'link', type: 'hardlink', body: `${up}${out}/file` }, file('link')]],
      ['hard link, absolute', [{ name: 'link', type: 'hardlink', body: `${canary}/file` }, file('link')]],
      [
        'hard link through a symlink',
        [
          { name: 'way', type: 'symlink', body: canary },
          { name: 'l', type: 'hardlink', body: 'way/file' },
        ],
      ],
      [
        'mode through a symlink',
        [
          { name: 'way', type: 'symlink', body: canary },
          { name: 'way', type: 'directory', mode: 0o777 },
          { name: 'way/file', body: 'x', mode: 0o777 },
        ],
      ],
      ['whiteout outside', [file(`${up}${out}/.wh.file`)]],
      ['opaque outside', [{ name: 'way', type: 'symlink', body: canary }, file('way/.wh..wh..opq')]],
      ['whiteout of the parent', [file('.wh...')]],
    ];
    for (const [name, entries] of attacks) {
      const own = scratchNamespace('x');
      const image = path.join(dir, 'evil.tar');
      writeFileSync(image, ociArchive({ layers: [tar(entries)], name: 'docker.io/library/evil:latest' }));
      const imported = await ctr(daemon, own, ['images', 'import', image]);
      t.same(readdirSync(canary), ['file'], `${name} (import ended with ${imported.code}): nothing new outside`);
      t.equal(readFileSync(path.join(canary, 'file'), 'utf8'), 'untouched', `${name}: nothing changed outside`);
      t.equal(statSync(canary).mode & 0o777, 0o700);
      t.equal(statSync(path.join(canary, 'file')).mode & 0o777, 0o600);
      t.equal(statSync(path.join(canary, 'file')).nlink, 1);
      await emptyNamespace(own);
    }
  });

  t.test('identifiers and headers', async (t) => {
    const long = 'a'.repeat(77);
    for (const id of [long, '', 'a/b', '../a', 'a b', '.a', 'a..b', 'ä']) {
      const failure = await rpc.failure(
        containers.ContainersService,
        'create',
        containers.CreateContainerRequest.create({
          container: {
            id,
            runtime: { name: 'io.containerd.runc.v2' },
            spec: { typeUrl: specUrl, value: Buffer.from('{}') },
          },
        }),
        { namespace },
      );
      t.equal(failure.code, invalidArgument, `container id ${JSON.stringify(id.slice(0, 10))}: ${failure.message}`);
    }
    for (const name of [long, 'a/b', '']) {
      const failure = await rpc.failure(
        namespaces.NamespacesService,
        'create',
        namespaces.CreateNamespaceRequest.create({ namespace: { name } }),
      );
      t.equal(failure.code, invalidArgument, failure.message);
    }
    const bare = await rpc.failure(
      containers.ContainersService,
      'get',
      containers.GetContainerRequest.create({ id: 'x' }),
    );
    t.equal(bare.code, failedPrecondition);
    t.match(bare.message, /namespace is required/);
    const odd = await rpc.failure(
      containers.ContainersService,
      'get',
      containers.GetContainerRequest.create({ id: 'x' }),
      {
        namespace: 'a/b',
      },
    );
    t.equal(odd.code, invalidArgument);
    const absent = await rpc.failure(
      tasks.TasksService,
      'start',
      tasks.StartRequest.create({ containerId: 'absent' }),
      {
        namespace,
      },
    );
    t.equal(absent.code, notFound);
    t.match(absent.message, /absent/);
    const labels = await rpc.failure(
      namespaces.NamespacesService,
      'create',
      namespaces.CreateNamespaceRequest.create({ namespace: { name: 'fine', labels: { key: 'v'.repeat(5000) } } }),
    );
    t.equal(labels.code, invalidArgument, labels.message);
    for (const digest of ['sha256:../../x', 'sha256:ABC', '', `sha256:${'a'.repeat(63)}`, `sha256:${'A'.repeat(64)}`]) {
      const failure = await rpc.failure(content.ContentService, 'info', content.InfoRequest.create({ digest }), {
        namespace,
      });
      t.equal(failure.code, invalidArgument, `digest ${digest}: ${failure.message}`);
    }
    const snapshotter = await rpc.failure(
      snapshots.SnapshotsService,
      'prepare',
      snapshots.PrepareSnapshotRequest.create({ snapshotter: '../x', key: 'k' }),
      { namespace },
    );
    t.equal(snapshotter.code, invalidArgument, snapshotter.message);
  });

  t.test('a huge message is refused and the connection lives on', async (t) => {
    const failure = await rpc.failure(
      containers.ContainersService,
      'create',
      containers.CreateContainerRequest.create({
        container: {
          id: 'huge',
          runtime: { name: 'x' },
          spec: { typeUrl: specUrl, value: Buffer.alloc(17 * 1024 * 1024) },
        },
      }),
      { namespace },
    );
    t.equal(failure.code, resourceExhausted, failure.message);
    await rpc.call(version.VersionService, 'version', {});
  });

  t.test('escapes by way of the bundle', async (t) => {
    const refused = await ctr(daemon, namespace, ['run', '--rm', '--cwd', '/proc/self/fd/7', imageName, 'fd', 'true']);
    t.not(refused.code, 0, refused.stderr);
    const secret = path.join(dir, 'secret');
    writeFileSync(secret, 'host');
    const link = await ctr(daemon, namespace, [
      'run',
      '--rm',
      '--mount',
      `type=bind,src=${secret},dst=/${'../'.repeat(20)}${dir}/planted,options=rbind:ro`,
      imageName,
      'up',
      'true',
    ]);
    t.notOk(existsSync(path.join(dir, 'planted')), `a mount target stays inside (${link.code})`);
  });

  t.test('after all that it works, and nothing is left', async (t) => {
    const works = await ctr(daemon, namespace, ['run', '--rm', imageName, 'fine', 'echo', 'fine']);
    t.equal(works.stdout, 'fine\n', works.stderr);
    t.same(onDisk(), clean);
    rpc.close();
    await daemon.stop();
    t.same(leaks(before, [dir, namespace]), []);
    removeScratch(dir);
  });

  async function emptyNamespace(own: string): Promise<void> {
    const images = (await ctr(daemon, own, ['images', 'ls', '-q'])).stdout.trim().split('\n').filter(Boolean);
    if (images.length > 0) await ctr(daemon, own, ['images', 'rm', '--sync', ...images]);
  }
});

function names(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir) : [];
}

function minimalSpec(fields: object = {}): object {
  return {
    ociVersion: '1.0.2',
    root: { path: 'rootfs' },
    process: { args: ['true'], cwd: '/', user: { uid: 0, gid: 0 } },
    linux: { namespaces: [{ type: 'mount' }, { type: 'pid' }] },
    ...fields,
  };
}
