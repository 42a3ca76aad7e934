/**
 * Images in another form: every platform of an index, nested indexes, attestations; the same on a stock containerd, and as containerd's
 * own client converts them there and here.
 */
import t from 'tap';
import path from 'node:path';
import { connect } from '@gantry/client';
import type { ConvertOptions } from '@gantry/client';
import { mediaTypes, parseIndex, parseManifest } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import {
  ctr,
  gantry,
  gantryd,
  host,
  hostState,
  imagesBelow,
  leaks,
  manyPlatforms as source,
  missing,
  other,
  putPlatforms,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  stockContainerd,
  storedDocument as document,
  storedIndex as indexOf,
  third,
} from '../index.ts';
import type { DaemonProcess } from '../index.ts';

const skip = missing('ctr', 'containerd', 'busybox', 'zstd') ?? false;
t.setTimeout(120_000);

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
      const graph = await putPlatforms(client);
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
      const original = await imagesBelow(client, await indexOf(client, graph.top.descriptor.digest));
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

      await client.content.delete(graph.shared);
      t.equal(
        await convert('all:reused', { compression: 'zstd', platforms: 'all' }),
        all,
        'a layer that was converted before is not read again',
      );

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
