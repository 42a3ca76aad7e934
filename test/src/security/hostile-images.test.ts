/**
 * Images that were made to be trouble, read by the client and by the server: bombs, documents that lie, nest, repeat or claim to be
 * two things, archives whose members point elsewhere, labels that are not theirs. Each ends soon, in an image or an error that says
 * why; gantryd stays small, and nothing of a refused one is left. Hostile layers: packages/diff/src/evil-layers.test.ts.
 */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import { codeOf, messageOf } from '@gantry/errors';
import {
  gantryd,
  hostState,
  importByServer,
  leaks,
  missing,
  ociArchive,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  sha256,
  StoredImages,
  tar,
  until,
} from '../index.ts';
import type { TarEntry } from '../index.ts';

const skip = missing('busybox') ?? false;
const MiB = 1 << 20;
const patienceMs = 120_000;
const name = 'docker.io/library/evil:latest';

const types = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** An OCI layout, of documents and blobs that are put into it as they are. */
class Layout {
  readonly #entries: TarEntry[] = [{ name: 'oci-layout', body: '{"imageLayoutVersion":"1.0.0"}' }];

  blob(mediaType: string, body: Buffer | object): Descriptor {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    const digest = sha256(bytes);
    this.#entries.push({ name: `blobs/sha256/${digest.slice(7)}`, body: bytes });
    return { mediaType, digest, size: bytes.length };
  }

  member(entry: TarEntry): this {
    this.#entries.push(entry);
    return this;
  }

  /** A config for layers of these diff ids. */
  config(diffIds: readonly string[], more: object = {}): Descriptor {
    const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
    const rootfs = { type: 'layers', diff_ids: diffIds };
    return this.blob(types.config, { architecture, os: 'linux', config: {}, rootfs, ...more });
  }

  manifest(config: Descriptor, layers: readonly Descriptor[], more: object = {}): Descriptor {
    return this.blob(types.manifest, { schemaVersion: 2, mediaType: types.manifest, config, layers, ...more });
  }

  index(manifests: readonly object[], more: object = {}): Descriptor {
    return this.blob(types.index, { schemaVersion: 2, mediaType: types.index, manifests, ...more });
  }

  /** The archive; `target` is what it names. */
  bytes(target: object, annotations: Readonly<Record<string, string>> = {}): Buffer {
    const named = { ...target, annotations: { 'io.containerd.image.name': name, ...annotations } };
    return tar([
      ...this.#entries,
      { name: 'index.json', body: JSON.stringify({ schemaVersion: 2, manifests: [named] }) },
    ]);
  }
}

/** A plain image of one small layer, and the parts of it. */
function plain(layout: Layout): {
  readonly layer: Descriptor;
  readonly config: Descriptor;
  readonly manifest: Descriptor;
} {
  const bytes = tar([{ name: 'file', body: 'content' }]);
  const layer = layout.blob(types.layer, bytes);
  const config = layout.config([layer.digest]);
  return { layer, config, manifest: layout.manifest(config, [layer]) };
}

/** A zstd frame that asks for a window of 2 GiB and holds one byte (RFC 8878). */
const greedyZstd = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x09, 0x00, 0x00, 0x61]);

/** So many zeros packed by gzip, without having them in memory. */
function zeros(sizeMiB: number, member: string): Buffer {
  const header = tar([{ name: member, body: '' }]).subarray(0, 512);
  header.write(`${(sizeMiB * MiB).toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write('        ', 148, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  // Members of a gzip file follow one another: the same packed megabyte again and again.
  const one = gzipSync(Buffer.alloc(MiB));
  return Buffer.concat([gzipSync(header), ...Array.from({ length: sizeMiB }, () => one), gzipSync(Buffer.alloc(1024))]);
}

interface Attack {
  readonly archive: () => Buffer;
  /** `done`, or the error's class. */
  readonly outcome: string;
  /** Of the client, where it is another one. */
  readonly clientOutcome?: string;
  readonly says?: RegExp;
}

const attacks: Readonly<Record<string, Attack>> = {
  'a document that is a manifest and an index (CVE-2021-41190)': {
    archive: () => {
      const layout = new Layout();
      const { config, layer, manifest } = plain(layout);
      return layout.bytes(layout.manifest(config, [layer], { manifests: [manifest] }));
    },
    outcome: 'invalid argument',
    says: /ambiguous/,
  },
  'an index that is called a manifest': {
    archive: () => {
      const layout = new Layout();
      return layout.bytes({ ...layout.index([plain(layout).manifest]), mediaType: types.manifest });
    },
    outcome: 'invalid argument',
  },
  'a digest that is a path': {
    archive: () => {
      const layout = new Layout();
      const { config, layer } = plain(layout);
      return layout.bytes(layout.manifest(config, [{ ...layer, digest: 'sha256:../../../../../../etc/passwd' }]));
    },
    outcome: 'invalid argument',
    says: /invalid digest/,
  },
  'a digest in the archive’s index that is a path': {
    archive: () => new Layout().bytes({ mediaType: types.manifest, digest: 'sha256:../../x', size: 1 }),
    outcome: 'invalid argument',
    says: /invalid digest/,
  },
  'a blob that is another one than its name says': {
    archive: () => ociArchive({ name, corrupt: (blob, kind) => (kind === 'layer' ? Buffer.from('other') : blob) }),
    outcome: 'failed precondition',
  },
  'a negative size': {
    archive: () => {
      const layout = new Layout();
      const { config, layer } = plain(layout);
      return layout.bytes(layout.manifest(config, [{ ...layer, size: -1 }]));
    },
    outcome: 'invalid argument',
    says: /size/,
  },
  'a size of 2^63': {
    archive: () => {
      const layout = new Layout();
      const { config, layer } = plain(layout);
      return layout.bytes(layout.manifest(config, [{ ...layer, size: 2 ** 63 }]));
    },
    outcome: 'invalid argument',
    says: /size/,
  },
  'ten levels of indexes': {
    archive: () => {
      const layout = new Layout();
      let target = plain(layout).manifest;
      for (let level = 0; level < 10; level += 1) target = layout.index([target]);
      return layout.bytes(target);
    },
    outcome: 'invalid argument',
    says: /levels of indexes/,
  },
  'an index of four thousand times an index of four thousand times …': {
    archive: () => {
      const layout = new Layout();
      let target = plain(layout).manifest;
      for (let level = 0; level < 3; level += 1) target = layout.index(Array.from({ length: 4000 }, () => target));
      return layout.bytes(target);
    },
    outcome: 'done',
  },
  'an index of four thousand times an index for nobody': {
    archive: () => {
      const layout = new Layout();
      const foreign = layout.blob(types.config, {
        architecture: 's390x',
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: [] },
      });
      let target = layout.manifest(foreign, []);
      for (let level = 0; level < 3; level += 1) target = layout.index(Array.from({ length: 4000 }, () => target));
      return layout.bytes(target);
    },
    outcome: 'not found',
    // It stores images of other platforms.
    clientOutcome: 'done',
    says: /^$|no match for platform/,
  },
  'a manifest with a hundred thousand nested lists': {
    archive: () => {
      const layout = new Layout();
      const depth = 100_000;
      return layout.bytes(layout.blob(types.manifest, Buffer.from('['.repeat(depth) + ']'.repeat(depth))));
    },
    outcome: 'invalid argument',
    says: /deep|nest|levels/,
  },
  'a manifest of nine megabytes': {
    archive: () => {
      const layout = new Layout();
      const { config, layer } = plain(layout);
      return layout.bytes(layout.manifest(config, [layer], { annotations: { a: 'x'.repeat(9 * MiB) } }));
    },
    outcome: 'resource exhausted',
  },
  'a config with a hundred thousand diff ids': {
    archive: () => {
      const layout = new Layout();
      const { layer } = plain(layout);
      const config = layout.config(Array.from({ length: 100_000 }, () => layer.digest));
      return layout.bytes(layout.manifest(config, [layer]));
    },
    outcome: 'invalid argument',
    says: /more than 4096 entries/,
  },
  'ten thousand times the same layer': {
    archive: () => {
      const layout = new Layout();
      const { layer } = plain(layout);
      const layers = Array.from({ length: 10_000 }, () => layer);
      return layout.bytes(layout.manifest(layout.config(layers.map(({ digest }) => digest)), layers));
    },
    outcome: 'invalid argument',
    says: /more than 4096 entries/,
  },
  'the same layer three times': {
    archive: () => {
      const layout = new Layout();
      const { layer } = plain(layout);
      const layers = [layer, layer, layer];
      return layout.bytes(layout.manifest(layout.config(layers.map(({ digest }) => digest)), layers));
    },
    outcome: 'done',
  },
  'more diff ids than layers': {
    archive: () => ociArchive({ name, diffIds: [sha256('a'), sha256('b')] }),
    outcome: 'invalid argument',
    says: /1 layers and 2 diff ids/,
  },
  'a diff id that is another layer’s': {
    archive: () => ociArchive({ name, diffIds: [sha256('other')] }),
    outcome: 'failed precondition',
    says: /wrong diff id/,
  },
  'a manifest without its layer': {
    archive: () => {
      const layout = new Layout();
      const absent = { mediaType: types.layer, digest: sha256('absent'), size: 6 };
      return layout.bytes(layout.manifest(layout.config([absent.digest]), [absent]));
    },
    outcome: 'not found',
  },
  'a config that is a fifo, a device, a link to the host': {
    archive: () =>
      tar([
        { name: 'c.json', type: 'symlink', body: '/etc/hostname' },
        { name: 'd.json', type: 'fifo' },
        { name: 'e.json', type: 'character' },
        {
          name: 'manifest.json',
          body: '[{"Config":"c.json","RepoTags":["evil:latest"],"Layers":["../../../../etc/passwd"]}]',
        },
      ]),
    outcome: 'not found',
    says: /in the archive/,
  },
  'members that are links to each other': {
    archive: () =>
      tar([
        { name: 'a', type: 'symlink', body: 'b' },
        { name: 'b', type: 'symlink', body: 'a' },
        { name: 'manifest.json', body: '[{"Config":"a","RepoTags":["evil:latest"],"Layers":["b"]}]' },
      ]),
    outcome: 'not found',
  },
  'a name that is none': {
    archive: () =>
      tar([
        { name: 'c.json', body: '{}' },
        { name: 'manifest.json', body: '[{"Config":"c.json","RepoTags":["../../etc/passwd"],"Layers":[]}]' },
      ]),
    outcome: 'invalid argument',
  },
  'a list of images of three hundred megabytes, packed': {
    archive: () => zeros(300, 'manifest.json'),
    outcome: 'resource exhausted',
  },
  'a layer of a gigabyte of zeros in a megabyte': {
    archive: () => {
      const layout = new Layout();
      const packed = zeros(1024, 'zeros');
      const layer = layout.blob(`${types.layer}+gzip`, packed);
      // What it is unpacked is not what its config says; that is found out at its end.
      return layout.bytes(layout.manifest(layout.config([sha256('')]), [layer]));
    },
    outcome: 'failed precondition',
    says: /wrong diff id/,
  },
  'a layer that wants two gigabytes for its window': {
    archive: () => {
      const layout = new Layout();
      const layer = layout.blob(`${types.layer}+zstd`, greedyZstd);
      return layout.bytes(layout.manifest(layout.config([sha256('a')]), [layer]));
    },
    outcome: 'invalid argument',
    says: /zstd/,
  },
  'a layer that is no gzip': {
    archive: () => {
      const layout = new Layout();
      const layer = layout.blob(`${types.layer}+gzip`, deflateRawSync(tar([{ name: 'x' }])));
      return layout.bytes(layout.manifest(layout.config([sha256('a')]), [layer]));
    },
    outcome: 'invalid argument',
  },
};

/** Bytes of memory a process has, or has had at most. */
function memory(pid: number, field: 'VmHWM' | 'VmRSS'): number {
  return (
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) *
    1024
  );
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 256 * 1024) yield bytes.subarray(at, at + 256 * 1024);
}

t.setTimeout(240_000);
t.test('hostile images', { skip, timeout: 230_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('h');
  const daemon = gantryd(dir);
  await daemon.start();
  using client = connect({ address: daemon.address, namespace, timeoutMs: patienceMs });
  const stored = new StoredImages(client, daemon.root);
  const readers: Readonly<Record<string, (client: Client, archive: Buffer) => Promise<unknown>>> = {
    client: (by, archive) => by.images.import(pieces(archive)),
    server: (by, archive) => importByServer(by, pieces(archive)),
  };

  for (const [what, attack] of Object.entries(attacks)) {
    await t.test(what, async (t) => {
      const { archive, says } = attack;
      const bytes = archive();
      for (const [reader, read] of Object.entries(readers)) {
        const outcome = (reader === 'client' ? attack.clientOutcome : undefined) ?? attack.outcome;
        const [code, text] = await read(client, bytes).then(
          () => ['done', ''] as const,
          (err: unknown) => [codeOf(err), messageOf(err)] as const,
        );
        t.equal(code, outcome, `${reader}: ${text.slice(0, 300)}`);
        if (says !== undefined) t.match(text, says, reader);
        t.ok(text.length < 2000, 'the error is a sentence');
        const images = (await client.images.list()).map((image) => image.name);
        t.same(images, outcome === 'done' ? [name] : [], reader);
        for (const image of images) await client.images.remove(image, { sync: true });
        t.same(await stored.leftOver(), [], `${reader}: nothing is left`);
      }
    });
  }

  await t.test('labels that are not an image’s to give', async (t) => {
    const layout = new Layout();
    const { layer } = plain(layout);
    const labels = {
      'containerd.io/restart.status': 'running',
      'containerd.io/restart.loguri': 'binary:///bin/sh',
      'containerd.io/gc.root': '2020-01-01T00:00:00Z',
      'containerd.io/snapshot/uidmapping': '0:0:1',
      'io.containerd.runtime': 'evil',
      'io.gantry/transfer': 'x',
      'org.example.kept': 'yes',
    };
    const config = layout.config([layer.digest], { config: { Labels: labels, Cmd: ['/x'] } });
    const annotations = { 'containerd.io/gc.root': 'x', 'containerd.io/gc.ref.content.x': layer.digest };
    const archive = layout.bytes(layout.manifest(config, [layer], { annotations }), annotations);
    for (const [reader, read] of Object.entries(readers)) {
      await read(client, archive);
      const container = await client.createContainer({ id: 'c', image: name });
      t.same(container.labels, { 'org.example.kept': 'yes' }, reader);
      const snapshot = await client.snapshots.stat('c');
      t.notOk(
        Object.keys(snapshot.labels).some((label) => label.includes('mapping')),
        reader,
      );
      for await (const { digest, labels: own } of client.content.list()) {
        t.notOk('containerd.io/gc.root' in own || 'containerd.io/gc.ref.content.x' in own, `${reader}: ${digest}`);
      }
      t.same((await client.images.get(name)).labels, {}, reader);
      await client.removeContainer('c');
      await client.images.remove(name, { sync: true });
      t.same(await stored.leftOver(), [], reader);
    }
  });

  await t.test('gantryd has stayed small, and works', async (t) => {
    const most = memory(daemon.pid, 'VmHWM') / MiB;
    t.ok(most < 400, `${Math.round(most)} MiB at most`);
    await client.images.import(pieces(ociArchive({ name })));
    t.same(await stored.lacks(name, undefined), []);
    await client.images.remove(name, { sync: true });
    await until('nothing to be left', async () => (await stored.leftOver()).length === 0);
  });

  client.close();
  await daemon.stop();
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
