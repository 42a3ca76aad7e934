/**
 * Images in another form: every platform of an index, nested indexes, attestations; the same on a stock containerd, and as containerd's
 * own client converts them there and here.
 */
import t from 'tap';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { images } from '@gantry/api';
import { connect } from '@gantry/client';
import type { Client, ConvertOptions } from '@gantry/client';
import { hostPlatform, mediaTypes, parseIndex, parseManifest } from '@gantry/oci';
import type { Descriptor, Index } from '@gantry/oci';
import {
  busyboxLayer,
  ctr,
  gantry,
  gantryd,
  hostState,
  leaks,
  missing,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  sha256,
  stockContainerd,
  tar,
} from '../index.ts';
import type { DaemonProcess } from '../index.ts';

const skip = missing('ctr', 'containerd', 'busybox', 'zstd') ?? false;
t.setTimeout(120_000);

const host = hostPlatform();
const other = { os: 'linux', architecture: host.architecture === 'amd64' ? 'arm64' : 'amd64' };
const third = { os: 'linux', architecture: 's390x' };
const source = 'docker.io/library/many:1';

interface Blob {
  readonly descriptor: Record<string, unknown> & { readonly digest: string; readonly size: number };
  readonly bytes: Buffer;
  readonly labels: Record<string, string>;
}

function blob(mediaType: string, content: Buffer | object, refs: readonly (readonly [string, Blob])[] = []): Blob {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const labels = Object.fromEntries(
    refs.map(([name, { descriptor }]) => [`containerd.io/gc.ref.content.${name}`, descriptor.digest]),
  );
  return { descriptor: { mediaType, digest: sha256(bytes), size: bytes.length }, bytes, labels };
}

const base = busyboxLayer();
const shared = blob(mediaTypes.dockerLayerGzip, gzipSync(base));

/** An image in Docker's words: a layer that all have and one of its own. */
function image(platform: { readonly os: string; readonly architecture: string }): Blob[] {
  const layer = tar([{ name: 'etc/of', body: platform.architecture }]);
  const config = blob(mediaTypes.dockerConfig, {
    ...platform,
    config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [sha256(base), sha256(layer)] },
  });
  const own = blob(mediaTypes.dockerLayerGzip, gzipSync(layer));
  const manifest = blob(
    mediaTypes.dockerManifest,
    {
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: config.descriptor,
      layers: [shared.descriptor, own.descriptor],
    },
    [
      ['config', config],
      ['l.0', shared],
      ['l.1', own],
    ],
  );
  return [own, config, manifest];
}

/** What buildx puts beside an image. */
function attestation(about: Blob): Blob[] {
  const statement = blob(mediaTypes.inToto, { _type: 'https://in-toto.io/Statement/v0.1', subject: [] });
  const config = blob(mediaTypes.config, {
    os: 'unknown',
    architecture: 'unknown',
    config: {},
    rootfs: { type: 'layers', diff_ids: [statement.descriptor.digest] },
  });
  const manifest = blob(
    mediaTypes.manifest,
    {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: config.descriptor,
      layers: [statement.descriptor],
    },
    [
      ['config', config],
      ['l.0', statement],
    ],
  );
  const annotations = {
    'vnd.docker.reference.digest': about.descriptor.digest,
    'vnd.docker.reference.type': 'attestation-manifest',
  };
  const described = { ...manifest.descriptor, annotations, platform: { os: 'unknown', architecture: 'unknown' } };
  return [statement, config, { ...manifest, descriptor: described }];
}

const last = (blobs: readonly Blob[]): Blob => blobs[blobs.length - 1] as Blob;
const placed = (blobs: readonly Blob[], platform: object): Blob => ({
  ...last(blobs),
  descriptor: { ...last(blobs).descriptor, platform },
});

/** An index of two images, an attestation, and an index with a third image. */
function graph(): { readonly blobs: readonly Blob[]; readonly top: Blob } {
  const [here, there, far] = [image(host), image(other), image(third)];
  const proof = attestation(last(here));
  const nested = [placed(far, third)];
  const inner = blob(
    mediaTypes.index,
    { schemaVersion: 2, mediaType: mediaTypes.index, manifests: nested.map(({ descriptor }) => descriptor) },
    [['m.0', last(far)]],
  );
  const entries = [placed(here, host), placed(there, other), last(proof), inner];
  const top = blob(
    mediaTypes.index,
    { schemaVersion: 2, mediaType: mediaTypes.index, manifests: entries.map(({ descriptor }) => descriptor) },
    entries.map((entry, at) => [`m.${at}`, entry] as const),
  );
  return { blobs: [shared, ...here, ...there, ...far, ...proof, inner, top], top };
}

async function put(client: Client): Promise<void> {
  const { blobs, top } = graph();
  await using lease = await client.leases.with();
  for (const { descriptor, bytes, labels } of blobs) {
    await client.content.write([bytes], {
      ref: descriptor.digest,
      expected: descriptor.digest,
      labels,
      lease: lease.id,
    });
  }
  const { digest, size } = top.descriptor;
  const target = { mediaType: mediaTypes.index, digest, size: BigInt(size) };
  const { ImagesService: service } = images;
  await client.transport.unary(service, service.methods.create, { image: { name: source, target } });
}

const document = (client: Client, digest: string): Promise<Buffer> => client.content.readAll(digest, 1_000_000);
const indexOf = async (client: Client, digest: string): Promise<Index> => parseIndex(await document(client, digest));

/** The images below an index, as deep as they are. */
async function imagesBelow(client: Client, index: Index): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  for (const entry of index.manifests) {
    if (entry.mediaType === mediaTypes.index)
      found.push(...(await imagesBelow(client, await indexOf(client, entry.digest))));
    else found.push(entry);
  }
  return found;
}

const architectures = (entries: readonly Descriptor[]): (string | undefined)[] =>
  entries.map(({ platform }) => platform?.architecture);

t.test('every platform of an index', { skip, timeout: 110_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const daemons: readonly DaemonProcess[] = [gantryd(path.join(dir, 'g')), stockContainerd(path.join(dir, 's'))];
  const namespace = scratchNamespace('v');
  t.teardown(async () => {
    for (const daemon of daemons) if (daemon.pid !== 0) await daemon.kill();
  });
  const results: string[][] = [];
  for (const daemon of daemons) {
    await t.test(daemon.name, async (t) => {
      await daemon.start();
      using client = connect({ address: daemon.address, namespace });
      await put(client);
      const convert = async (name: string, options: ConvertOptions): Promise<string> =>
        (await client.convert(source, name, options)).target?.digest ?? '';

      const all = await convert('all:zstd', { compression: 'zstd', platforms: 'all' });
      const index = await indexOf(client, all);
      const found = await imagesBelow(client, index);
      t.same(architectures(found), [host.architecture, other.architecture, 'unknown', 's390x']);
      const about = found[2]?.annotations?.['vnd.docker.reference.digest'];
      t.equal(about, found[0]?.digest, 'the attestation is about the image as it is now');
      for (const entry of [found[0], found[1], found[3]]) {
        const manifest = parseManifest(await document(client, entry?.digest ?? ''));
        t.same([...new Set(manifest.layers.map(({ mediaType }) => mediaType))], [mediaTypes.layerZstd]);
        t.equal(manifest.config.mediaType, mediaTypes.config);
        const labels = (await client.content.info(entry?.digest ?? '')).labels;
        t.same(
          Object.values(labels).sort(),
          [manifest.config, ...manifest.layers].map(({ digest }) => digest).sort(),
          'what it refers to is kept with it',
        );
      }
      t.equal(await convert('all:zstd', { compression: 'zstd', platforms: 'all' }), all, 'the same again');
      t.equal(
        (await client.convert('all:zstd', 'all:again', { compression: 'zstd', platforms: 'all' })).target?.digest,
        all,
        'what is so already keeps its digest',
      );
      const some = await indexOf(client, await convert('some:1', { compression: 'zstd', platforms: [host] }));
      t.same(architectures(some.manifests), [host.architecture], 'attestations come along with everything only');
      const two = await convert('two:1', { compression: 'none', platforms: [third, other] });
      t.same(architectures(await imagesBelow(client, await indexOf(client, two))), [other.architecture, 's390x']);
      const nowhere = { os: 'linux', architecture: 'riscv64' };
      await t.rejects(convert('no:1', { compression: 'none', platforms: [nowhere] }), {
        code: 'not found',
        message: /an image for linux\/riscv64 in index/,
      });
      const docker = await convert('docker:1', { mediaTypes: 'docker', platforms: 'all' });
      const list = parseIndex(await document(client, docker));
      t.equal(list.mediaType, mediaTypes.dockerIndex);
      t.equal((await imagesBelow(client, list)).length, 3, 'without what Docker has no words for');
      const original = await imagesBelow(client, await indexOf(client, last(graph().blobs).descriptor.digest));
      t.equal(list.manifests[0]?.digest, original[0]?.digest, 'an image that is in Docker’s words keeps its digest');
      const one = await convert('one:1', { compression: 'gzip' });
      t.equal(parseManifest(await document(client, one)).mediaType, mediaTypes.manifest, 'one image, no index');

      const lines: string[] = [];
      const byCtr = async (...words: string[]): Promise<string> => {
        const { code, stdout, stderr } = await ctr(daemon, namespace, ['images', 'convert', ...words]);
        lines.push(`${code} ${stdout}${stderr}`);
        return stdout.trim();
      };
      const plain = await byCtr('--uncompress', '--oci', '--all-platforms', source, 'docker.io/ctr/all:1');
      await byCtr(
        '--uncompress',
        '--oci',
        '--platform',
        `linux/${other.architecture}`,
        source,
        'docker.io/ctr/other:1',
      );
      await byCtr('--oci', '--platform', 'linux/s390x', source, 'docker.io/ctr/third:1');
      await byCtr('--oci', source, 'docker.io/ctr/here:1');
      const ours = await gantry(daemon, namespace, ['convert', '-c', 'none', '--all-platforms', source, 'own/all:1']);
      t.equal(ours.code, 0, ours.stderr);
      const layers = async (digest: string): Promise<string[][]> =>
        Promise.all(
          (await imagesBelow(client, await indexOf(client, digest))).map(async (entry) =>
            parseManifest(await document(client, entry.digest)).layers.map(
              (layer) => `${layer.mediaType} ${layer.digest}`,
            ),
          ),
        );
      t.same(await layers(ours.stdout.trim()), await layers(plain), 'the layers that containerd’s client makes');
      results.push([all, two, docker, one, ...lines]);

      // What nobody refers to any more goes, what is referred to stays.
      for (const record of await client.images.list())
        if (!record.name.endsWith('all:zstd')) await client.images.remove(record.name, { sync: true });
      for (const entry of await imagesBelow(client, await indexOf(client, all))) {
        for (const { digest } of parseManifest(await document(client, entry.digest)).layers)
          await client.content.info(digest);
      }
      if (daemon.name === 'gantryd') {
        const run = await gantry(daemon, namespace, ['run', '--rm', 'all:zstd', 'cat', '/etc/of']);
        t.equal(run.stdout, host.architecture, run.stderr);
      }
      await daemon.stop();
    });
  }
  t.same(results[0], results[1], 'both give the same digests, and ctr says the same');
  t.same(leaks(before, [path.join(dir, 'g'), namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
