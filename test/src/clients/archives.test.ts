/**
 * Image archives of strangers: what skopeo, podman, buildah, umoci and docker write comes in, runs, and goes out as an archive
 * that they read; the same images give the same bytes, by whichever way they went.
 */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { transferTypes } from '@gantry/api';
import { connect, runTransfer, TransferStream, transferEnd } from '@gantry/client';
import type { Client } from '@gantry/client';
import {
  busyboxLayer,
  ctr,
  gantryd,
  hostState,
  importByServer,
  leaks,
  missing,
  ociArchive,
  removeScratch,
  run,
  scratchDirectory,
  scratchNamespace,
  sha256,
  stockContainerd,
  tar,
  until,
} from '../index.ts';

const skip = missing('busybox', 'ctr', 'skopeo') ?? false;

/** An archive that somebody else wrote, and the names it should bring. */
interface Foreign {
  readonly by: string;
  readonly needs: readonly string[];
  /** Makes it out of `source`, an OCI archive of one image; `dir` is the maker's own. */
  readonly make: (source: string, dir: string, file: string) => Promise<void>;
  readonly names: readonly string[];
}

async function must(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, { timeoutMs: 60_000 });
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** podman and buildah share their storage's flags. */
function storageIn(dir: string): string[] {
  return ['--root', path.join(dir, 'root'), '--runroot', path.join(dir, 'run'), '--storage-driver', 'vfs'];
}

const foreigners: readonly Foreign[] = [
  {
    by: 'skopeo, for docker',
    needs: ['skopeo'],
    make: async (source, _dir, file) =>
      void (await must('skopeo', 'copy', `oci-archive:${source}`, `docker-archive:${file}:a.example/skopeo:1`)),
    names: ['a.example/skopeo:1'],
  },
  {
    by: 'skopeo, as OCI layout',
    needs: ['skopeo'],
    make: async (source, _dir, file) =>
      void (await must('skopeo', 'copy', `oci-archive:${source}`, `oci-archive:${file}:a.example/layout:2`)),
    names: ['a.example/layout:2'],
  },
  {
    by: 'podman, two names for docker',
    needs: ['podman'],
    async make(source, dir, file) {
      const storage = storageIn(dir);
      await must('podman', ...storage, 'load', '-q', '-i', source);
      await must('podman', ...storage, 'tag', 'box:latest', 'a.example/podman:1');
      await must(
        'podman',
        ...storage,
        'save',
        '-q',
        '-m',
        '--format',
        'docker-archive',
        '-o',
        file,
        'box:latest',
        'a.example/podman:1',
      );
    },
    names: ['a.example/podman:1', 'docker.io/library/box:latest'],
  },
  {
    by: 'podman, as OCI layout',
    needs: ['podman'],
    async make(source, dir, file) {
      const storage = storageIn(dir);
      await must('podman', ...storage, 'load', '-q', '-i', source);
      await must('podman', ...storage, 'save', '-q', '--format', 'oci-archive', '-o', file, 'box:latest');
    },
    names: ['docker.io/library/box:latest'],
  },
  {
    by: 'buildah, a tag and nothing else',
    needs: ['buildah'],
    async make(_source, dir, file) {
      const storage = storageIn(dir);
      const container = await must('buildah', ...storage, 'from', 'scratch');
      await must('buildah', ...storage, 'copy', container, busyboxFile, '/bin/busybox');
      await must('buildah', ...storage, 'config', '--cmd', '/bin/busybox', container);
      await must('buildah', ...storage, 'commit', '-q', container, `oci-archive:${file}:built`);
      await must('buildah', ...storage, 'rm', container);
    },
    names: ['imported:built'],
  },
  {
    by: 'umoci, with a layer of its own',
    needs: ['umoci', 'skopeo'],
    async make(source, dir, file) {
      const layout = path.join(dir, 'layout');
      await must('skopeo', 'copy', `oci-archive:${source}`, `oci:${layout}:base`);
      writeFileSync(path.join(dir, 'new'), 'added by umoci');
      await must('umoci', 'insert', '--image', `${layout}:base`, path.join(dir, 'new'), '/new');
      await must('umoci', 'tag', '--image', `${layout}:base`, 'more');
      await must('umoci', 'rm', '--image', `${layout}:base`);
      await must('tar', '-C', layout, '-czf', file, '.');
    },
    names: ['imported:more'],
  },
  {
    by: 'docker',
    needs: ['dockerd', 'docker'],
    async make(source, dir, file) {
      const host = `unix://${path.join(dir, 'd.sock')}`;
      const words = `--data-root ${dir}/data --exec-root ${dir}/exec --pidfile ${dir}/pid --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --storage-driver vfs`;
      const daemon = spawn('dockerd', ['-H', host, ...words.split(' ')], { stdio: 'ignore' });
      const ended = once(daemon, 'exit');
      try {
        const docker = async (...args: string[]): Promise<string> => must('docker', '-H', host, ...args);
        await until('dockerd answers', async () =>
          docker('version').then(
            () => true,
            () => daemon.exitCode !== null,
          ),
        );
        const forDocker = path.join(dir, 'in.tar');
        await must('skopeo', 'copy', `oci-archive:${source}`, `docker-archive:${forDocker}:box:latest`);
        await docker('load', '-q', '-i', forDocker);
        await docker('tag', 'box:latest', 'a.example/docker:3');
        await docker('save', '-o', file, 'box:latest', 'a.example/docker:3');
      } finally {
        daemon.kill('SIGTERM');
        await ended;
      }
    },
    names: ['a.example/docker:3', 'docker.io/library/box:latest'],
  },
];

const busyboxFile = '/bin/busybox';

/** As a ctr of containerd 2 exports. */
async function exportByServer(client: Client, names: readonly string[]): Promise<Buffer> {
  const stream = await TransferStream.open(client.transport, 'export', {});
  try {
    const [name = '', ...more] = names;
    const store = transferEnd(transferTypes.ImageStore, {
      name,
      extraReferences: more.map((other) => ({ name: other })),
    });
    const done = runTransfer(
      client.transport,
      store,
      transferEnd(transferTypes.ImageExportStream, { stream: stream.id }),
      {},
    );
    const [bytes] = await Promise.all([collect(stream.receiveBytes()), done]);
    return bytes;
  } finally {
    stream.close();
  }
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

t.setTimeout(200_000);
t.test('archives of strangers', { skip, timeout: 190_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const source = path.join(dir, 'box.tar');
  writeFileSync(source, ociArchive());
  const daemon = gantryd(path.join(dir, 'g'));
  await daemon.start();
  const namespaces: string[] = [];
  const clientIn = (letter: string): Client => {
    const namespace = scratchNamespace(letter);
    namespaces.push(namespace);
    return connect({ address: daemon.address, namespace });
  };

  for (const { by, needs, make, names } of foreigners) {
    await t.test(`by ${by}`, { skip: missing(...needs) ?? false }, async (t) => {
      const own = path.join(dir, by.replaceAll(/\W+/g, '-'));
      mkdirSync(own);
      const file = path.join(own, 'archive');
      await make(source, own, file);

      using client = clientIn('s');
      await importByServer(client, createReadStream(file));
      const made = await client.images.list();
      t.same(
        made.map(({ name }) => name),
        names,
        'all its names',
      );
      t.same((await client.leases.list()).length, 0);
      const { namespace } = client.transport;
      const ran = await ctr(daemon, namespace, ['run', '--rm', names[0] ?? '', 'x', '/bin/busybox', 'echo', 'hello']);
      t.equal(ran.stdout, 'hello\n', ran.stderr);

      using byClient = clientIn('c');
      await byClient.images.import(createReadStream(file), { prefix: 'imported' });
      const again = await byClient.images.list();
      t.same(
        again.map(({ name, target }) => [name, target?.digest]),
        made.map(({ name, target }) => [name, target?.digest]),
        'the client reads it alike',
      );

      const archive = await exportByServer(client, names);
      t.ok(archive.equals(await collect(byClient.images.export(names))), 'server and client write the same bytes');
      const out = path.join(own, 'out.tar');
      writeFileSync(out, archive);
      using third = clientIn('t');
      await importByServer(third, createReadStream(out));
      t.ok((await exportByServer(third, names)).equals(archive), 'in and out again: the same bytes');
      // Of several it takes those only whose manifests are OCI's.
      if (names.length === 1) {
        const raw = await run('skopeo', ['inspect', '--raw', `oci-archive:${out}`]);
        t.equal(sha256(raw.stdout), made[0]?.target?.digest, `skopeo reads the same manifest ${raw.stderr}`);
      }
      const asDocker = await run('skopeo', ['inspect', `docker-archive:${out}`]);
      t.equal(asDocker.code, names[0]?.startsWith('imported:') === true ? asDocker.code : 0, asDocker.stderr);
    });
  }

  await t.test(
    'containerd exports the same bytes, and imports ours',
    { skip: missing('containerd') ?? false },
    async (t) => {
      const peer = stockContainerd(path.join(dir, 'c'));
      await peer.start();
      try {
        using client = clientIn('p');
        await importByServer(client, createReadStream(source));
        const name = 'docker.io/library/box:latest';
        const ours = path.join(dir, 'ours.tar');
        writeFileSync(ours, await exportByServer(client, [name]));
        const imported = await ctr(peer, 'default', ['images', 'import', ours]);
        t.equal(imported.code, 0, imported.stderr);
        const theirs = path.join(dir, 'theirs.tar');
        t.equal((await ctr(peer, 'default', ['images', 'export', theirs, name])).code, 0);
        const [a, b] = [ours, theirs].map((file) => membersOf(readFileSync(file)));
        // containerd 1.6 leaves the media type of the index out; 2.x writes it.
        t.same([...(a?.keys() ?? [])], [...(b?.keys() ?? [])], 'the same members in the same order');
        for (const [member, bytes] of a ?? []) if (member !== 'index.json') t.ok(b?.get(member)?.equals(bytes), member);
      } finally {
        await peer.stop();
      }
    },
  );

  await t.test('an archive that lies, is incomplete, or is none', async (t) => {
    using client = clientIn('l');
    const refused = async (bytes: Buffer): Promise<unknown> => {
      const file = path.join(dir, 'bad.tar');
      writeFileSync(file, bytes);
      return importByServer(client, createReadStream(file)).then(
        () => undefined,
        (err: unknown) => err,
      );
    };
    t.match(await refused(Buffer.from('no archive at all'.repeat(100))), { code: 'invalid argument' });
    t.match(await refused(Buffer.alloc(0)), { code: 'invalid argument', message: /the archive is empty/ });
    const lying = ociArchive({
      layers: [tar([{ name: 'unheard-of', body: 'a' }])],
      corrupt: (blob, kind) => (kind === 'layer' ? Buffer.concat([blob.subarray(1), blob.subarray(0, 1)]) : blob),
    });
    t.match(await refused(lying), { code: 'failed precondition', message: /unexpected commit digest/ });
    const wrongLayer = ociArchive({ diffIds: [sha256('other')] });
    t.match(await refused(wrongLayer), { code: 'failed precondition', message: /wrong diff id/ });
    const lost = tar([
      { name: 'manifest.json', body: JSON.stringify([{ Config: '../../etc/passwd', RepoTags: ['a:b'], Layers: [] }]) },
    ]);
    t.match(await refused(lost), { code: 'not found', message: /in the archive/ });
    t.match(await refused(ociArchive().subarray(0, 300_000)), { code: 'invalid argument', message: /truncated/ });
    t.same(await client.images.list(), [], 'nothing got a name');
    t.same((await client.leases.list()).length, 0);
  });

  await t.test('plain layers are packed when asked to', async (t) => {
    using client = clientIn('z');
    const layer = busyboxLayer();
    const config = JSON.stringify({
      os: 'linux',
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      config: {},
      rootfs: { type: 'layers', diff_ids: [sha256(layer)] },
    });
    const file = path.join(dir, 'plain.tar');
    const manifest = [{ Config: 'c.json', RepoTags: ['plain:1'], Layers: ['l/layer.tar'] }];
    writeFileSync(
      file,
      tar([
        { name: 'l/layer.tar', body: layer },
        { name: 'c.json', body: config },
        { name: 'manifest.json', body: JSON.stringify(manifest) },
      ]),
    );
    const stream = await TransferStream.open(client.transport, 'import', {});
    const from = transferEnd(transferTypes.ImageImportStream, { stream: stream.id, forceCompress: true });
    const store = transferEnd(transferTypes.ImageStore, {
      extraReferences: [{ name: 'x', isPrefix: true, allowOverwrite: true }],
    });
    await Promise.all([runTransfer(client.transport, from, store, {}), stream.sendBytes(createReadStream(file))]);
    stream.close();
    const { manifest: stored } = await client.images.resolve('plain:1');
    t.match(stored.layers, [{ mediaType: /tar\.gzip$/ }]);
    t.equal(await client.images.unpack('plain:1'), sha256(layer));
  });

  await daemon.stop();
  t.same(leaks(before, [dir, ...namespaces]), [], 'nothing is left on the host');
  removeScratch(dir);
});

/** The regular members of a plain ustar: name → bytes. */
function membersOf(archive: Buffer): Map<string, Buffer> {
  const members = new Map<string, Buffer>();
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0;) {
    const name = archive
      .subarray(at, at + 100)
      .toString()
      .replace(/\0.*$/s, '');
    const size = Number.parseInt(archive.subarray(at + 124, at + 135).toString(), 8);
    members.set(name, archive.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return members;
}
