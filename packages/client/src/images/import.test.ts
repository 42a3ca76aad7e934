import t from 'tap';
import { gzipSync } from 'node:zlib';
import { Readable } from 'node:stream';
import { alreadyExists, notFound } from '@gantry/errors';
import { digestOf } from '@gantry/oci';
import { parseDockerManifest, readImageArchive } from '@gantry/archive/images';
import type { ContentCalls } from '../services/content.ts';
import { baseLayer, dockerArchive, ociArchive } from '../testing/images.ts';
import { tarBytes } from '../testing/tar-bytes.ts';
import { archiveContent } from './archive-content.ts';
import { importPrefix, nameOfEntry } from './names.ts';
import { resolveImage } from './resolve.ts';
import { unpackImage } from './unpack.ts';
import type { UnpackSnapshots } from './unpack.ts';

/** A content store in memory that verifies what it is given. */
function memoryContent(): ContentCalls & { blobs: Map<string, Buffer>; labels: Map<string, Record<string, string>> } {
  const blobs = new Map<string, Buffer>();
  const labels = new Map<string, Record<string, string>>();
  return {
    blobs,
    labels,
    async write(source, { expected }) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of source) chunks.push(Buffer.from(chunk));
      const bytes = Buffer.concat(chunks);
      const digest = digestOf(bytes);
      if (expected !== undefined && expected !== digest) throw new Error(`unexpected commit digest ${digest}`);
      const existed = blobs.has(digest);
      blobs.set(digest, bytes);
      return { digest, size: BigInt(bytes.length), existed };
    },
    async *read(digest) {
      const bytes = blobs.get(digest);
      if (bytes === undefined) throw notFound(`content ${digest}`);
      yield bytes;
    },
    async readAll(digest) {
      const bytes = blobs.get(digest);
      if (bytes === undefined) throw notFound(`content ${digest}`);
      return bytes;
    },
    async info(digest) {
      const bytes = blobs.get(digest);
      if (bytes === undefined) throw notFound(`content ${digest}`);
      return { digest, size: BigInt(bytes.length), createdAt: undefined, updatedAt: undefined, labels: {} };
    },
    async setLabels(digest, added) {
      labels.set(digest, { ...labels.get(digest), ...added });
    },
  };
}

/** In odd pieces, as a pipe gives them. */
const streamOf = (bytes: Buffer): AsyncIterable<Uint8Array> =>
  Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += 70_001) yield bytes.subarray(at, at + 70_001);
    })(),
  );

const small = tarBytes([{ name: 'hello', body: 'hello' }]);
const other = tarBytes([{ name: 'world', body: 'world' }]);

t.test('an OCI layout becomes content with labelled references', async (t) => {
  const content = memoryContent();
  const {
    images: [image],
  } = await readImageArchive(archiveContent(content, {}), streamOf(ociArchive({ layers: [small, other] })));
  t.equal(image && nameOfEntry(image, 'p'), 'docker.io/library/box:1');
  const { manifest, configDigest, config } = await resolveImage(content, image ?? { mediaType: '', digest: '' });
  t.same(config.rootfs.diff_ids, [digestOf(small), digestOf(other)]);
  t.same(content.labels.get(image?.digest ?? ''), {
    'containerd.io/gc.ref.content.config': configDigest,
    'containerd.io/gc.ref.content.l.0': manifest.layers[0]?.digest,
    'containerd.io/gc.ref.content.l.1': manifest.layers[1]?.digest,
  });
});

t.test('a docker save archive, gzipped, gets a manifest of its own and a full name', async (t) => {
  const content = memoryContent();
  const archive = gzipSync(dockerArchive('box:2', { layers: [small, gzipSync(other)], diffIds: [] }));
  const {
    images: [image],
  } = await readImageArchive(archiveContent(content, {}), streamOf(archive));
  t.equal(image && nameOfEntry(image, 'p'), 'docker.io/library/box:2');
  const manifest: unknown = JSON.parse(String(content.blobs.get(image?.digest ?? '')));
  t.match(manifest, {
    layers: [
      { mediaType: 'application/vnd.docker.image.rootfs.diff.tar', digest: digestOf(small) },
      { mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' },
    ],
  });
});

t.test('archives that are none, or incomplete, are refused with a reason', async (t) => {
  const refuse = async (bytes: Buffer, message: RegExp): Promise<void> => {
    await t.rejects(readImageArchive(archiveContent(memoryContent(), {}), streamOf(bytes)), { message });
  };
  const version = (text: string): Buffer =>
    tarBytes([{ name: 'oci-layout', body: JSON.stringify({ imageLayoutVersion: text }) }]);
  await refuse(Buffer.alloc(0), /^the archive is empty$/);
  await refuse(small, /neither oci-layout nor manifest.json/);
  await refuse(version('2.0.0'), /imageLayoutVersion/);
  await refuse(version('1.0.0'), /no index.json/);
  const lost = [{ Config: 'gone.json', RepoTags: ['a:b'], Layers: [] }];
  await refuse(tarBytes([{ name: 'manifest.json', body: JSON.stringify(lost) }]), /"gone.json" in the archive/);
});

t.test('a blob whose bytes do not match its name is refused', async (t) => {
  const archive = ociArchive({ layers: [baseLayer()] });
  const at = archive.lastIndexOf('blobs/sha256/') + 512 + 100;
  archive.writeUInt8(archive.readUInt8(at) ^ 0xff, at);
  await t.rejects(readImageArchive(archiveContent(memoryContent(), {}), streamOf(archive)), {
    message: /unexpected commit digest/,
  });
});

t.test('names: full name, full reference, tag with a prefix, digest', (t) => {
  const digest = digestOf('x');
  const named = (annotations: Record<string, string>): string =>
    nameOfEntry({ mediaType: '', digest, size: 1, annotations }, 'import-x');
  t.equal(named({ 'io.containerd.image.name': 'docker.io/library/a:1' }), 'docker.io/library/a:1');
  t.equal(named({ 'org.opencontainers.image.ref.name': 'quay.io/a/b:2' }), 'quay.io/a/b:2');
  t.equal(named({ 'org.opencontainers.image.ref.name': 'latest' }), 'import-x:latest');
  t.equal(named({}), `import-x@${digest}`);
  t.equal(importPrefix(new Date('2026-02-03T04:05:06Z')), 'import-2026-02-03');
  t.end();
});

t.test('manifest.json is checked member by member', (t) => {
  const parse = (document: unknown) => parseDockerManifest(Buffer.from(JSON.stringify(document)));
  t.throws(() => parseDockerManifest(Buffer.from('{')), { code: 'invalid argument' });
  t.throws(() => parse([]), { message: 'manifest.json is not a list of images' });
  t.throws(() => parse([{ Config: 1 }]), { message: 'manifest.json[0].Config is not a path' });
  t.throws(() => parse([{ Config: 'c', Layers: ['a', 2] }]), { message: 'manifest.json[0].Layers[1] is not a string' });
  t.same(parse([{ Config: 'c', RepoTags: null, Layers: ['l'] }]), [{ config: 'c', names: [], layers: ['l'] }]);
  t.end();
});

/** Snapshots in memory; `committed` may be filled before. */
function memorySnapshots(
  committed = new Set<string>(),
): UnpackSnapshots & { active: Set<string>; committed: Set<string> } {
  const active = new Set<string>();
  return {
    snapshotter: 'overlayfs',
    active,
    committed,
    async prepare(key, parent) {
      if (parent !== '' && !committed.has(parent)) throw notFound(`snapshot ${parent}`);
      active.add(key);
      return [];
    },
    async commit(name, key) {
      if (committed.has(name)) throw alreadyExists(`snapshot ${name}`);
      active.delete(key);
      committed.add(name);
    },
    async remove(key) {
      active.delete(key);
    },
    async stat(name) {
      if (!committed.has(name)) throw notFound(`snapshot ${name}`);
      return { name, parent: '', kind: 3, createdAt: undefined, updatedAt: undefined, labels: {} };
    },
  };
}

async function resolved(
  content: ContentCalls,
  layers: readonly Buffer[],
): Promise<Awaited<ReturnType<typeof resolveImage>>> {
  const {
    images: [image],
  } = await readImageArchive(archiveContent(content, {}), streamOf(ociArchive({ layers })));
  return resolveImage(content, image ?? { mediaType: '', digest: '' });
}

t.test('layers are unpacked bottom first onto their chain, and once only', async (t) => {
  const content = memoryContent();
  const image = await resolved(content, [small, other]);
  const snapshots = memorySnapshots();
  const applied: string[] = [];
  const diffOf = new Map(
    image.manifest.layers.map((layer, i) => [String(layer.digest), String(image.config.rootfs.diff_ids[i])]),
  );
  const apply = async ({ digest }: { digest: string }) => {
    applied.push(digest);
    return { digest: diffOf.get(digest) ?? '' };
  };
  const top = await unpackImage({ apply, content, snapshots }, image);
  t.equal(top, digestOf(`${digestOf(small)} ${digestOf(other)}`));
  t.same(
    applied,
    image.manifest.layers.map(({ digest }) => digest),
  );
  t.same([...snapshots.committed], [digestOf(small), top]);
  t.equal(snapshots.active.size, 0);
  t.match(content.labels.get(image.configDigest), { 'containerd.io/gc.ref.snapshot.overlayfs': top });
  await unpackImage({ apply, content, snapshots }, image);
  t.equal(applied.length, 2, 'a second unpack applies nothing');
});

t.test('a layer whose diff id is not the promised one is never committed', async (t) => {
  const content = memoryContent();
  const image = await resolved(content, [small]);
  const snapshots = memorySnapshots();
  const apply = async () => ({ digest: digestOf('something else') });
  await t.rejects(unpackImage({ apply, content, snapshots }, image), {
    message: /wrong diff id calculated on extraction/,
  });
  t.equal(snapshots.committed.size, 0);
  t.equal(snapshots.active.size, 0, 'and its snapshot is thrown away');
});

t.test('losing the race for a commit is success', async (t) => {
  const content = memoryContent();
  const image = await resolved(content, [small]);
  const snapshots = memorySnapshots();
  const apply = async () => {
    snapshots.committed.add(digestOf(small));
    return { digest: digestOf(small) };
  };
  t.equal(await unpackImage({ apply, content, snapshots }, image), digestOf(small));
  t.equal(snapshots.active.size, 0);
});
