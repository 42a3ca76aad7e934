/** What requests to the Transfer service can ask for beside a name: platforms, snapshotters, further names, labels. */
import t from 'tap';
import { transferTypes } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { connect, runTransfer, TransferStream, transferEnd } from '@gantry/client';
import type { Client } from '@gantry/client';
import { mediaTypes, parseImageConfig, parseManifest } from '@gantry/oci';
import {
  gantryd,
  host,
  hostState,
  imagesBelow,
  leaks,
  manyPlatforms,
  missing,
  other,
  putPlatforms,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  storedDocument,
  storedIndex,
  third,
} from '../index.ts';

const skip = missing('busybox') ?? false;
t.setTimeout(90_000);

async function* piecesOf(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

async function importInto(
  client: Client,
  archive: Buffer,
  store: PartialMessage<transferTypes.ImageStore>,
): Promise<void> {
  using stream = await TransferStream.open(client.transport, 'import', {});
  const source = transferEnd(transferTypes.ImageImportStream, { stream: stream.id });
  const done = runTransfer(client.transport, source, transferEnd(transferTypes.ImageStore, store), {});
  await Promise.all([done, stream.sendBytes(piecesOf(archive)).catch(() => undefined)]);
}

async function exportFrom(
  client: Client,
  name: string,
  how: PartialMessage<transferTypes.ImageExportStream>,
): Promise<Buffer> {
  using stream = await TransferStream.open(client.transport, 'export', {});
  const destination = transferEnd(transferTypes.ImageExportStream, { ...how, stream: stream.id });
  const pieces: Uint8Array[] = [];
  const receive = async (): Promise<void> => {
    for await (const piece of stream.receiveBytes()) pieces.push(piece);
  };
  const done = runTransfer(client.transport, transferEnd(transferTypes.ImageStore, { name }), destination, {});
  await Promise.all([done, receive()]);
  return Buffer.concat(pieces);
}

async function exported(client: Client, options: Parameters<Client['images']['export']>[1]): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of client.images.export([manyPlatforms], options)) pieces.push(piece);
  return Buffer.concat(pieces);
}

t.test('several platforms and snapshotters in one transfer', { skip, timeout: 80_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('m');
  const daemon = gantryd(dir);
  t.teardown(() => (daemon.pid === 0 ? undefined : daemon.kill()));
  await daemon.start();
  using client = connect({ address: daemon.address, namespace, timeoutMs: 60_000 });
  const graph = await putPlatforms(client);
  const everything = await exported(client, { platforms: 'all' });
  const some = await exported(client, { platforms: [host, third] });

  await t.test('an export has the platforms that are asked for', async (t) => {
    t.ok((await exportFrom(client, manyPlatforms, { allPlatforms: true })).equals(everything));
    t.ok((await exportFrom(client, manyPlatforms, { platforms: [host, third] })).equals(some));
    t.not(everything.length, some.length);
    t.ok(everything.includes('manifest.json'));
    const bare = await exportFrom(client, manyPlatforms, { allPlatforms: true, skipCompatibilityManifest: true });
    t.notOk(bare.includes('manifest.json'));
    const nothing = exportFrom(client, manyPlatforms, { platforms: [{ os: 'linux', architecture: 'riscv64' }] });
    await t.rejects(nothing, { code: 'not found' });
  });

  await t.test('an import is unpacked for each, has its labels and its names', async (t) => {
    await client.images.remove(manyPlatforms, { sync: true });
    await t.rejects(client.content.info(graph.shared), { code: 'not found' });
    await importInto(client, everything, {
      labels: { from: 'afar' },
      extraReferences: [
        { name: 'import', isPrefix: true, allowOverwrite: true },
        { name: 'by/digest', isPrefix: true, addDigest: true },
      ],
      unpacks: [
        { platform: host, snapshotter: 'native' },
        { platform: other, snapshotter: 'native' },
        { platform: host, snapshotter: 'overlayfs' },
      ],
    });
    const { digest } = graph.top.descriptor;
    const records = await client.images.list();
    t.same(
      records.map(({ name, labels, target }) => [name, labels, target?.digest]),
      [
        [`by/digest@${digest}`, { from: 'afar' }, digest],
        [manyPlatforms, { from: 'afar' }, digest],
      ],
    );
    const chains: Record<string, string[]> = { native: [], overlayfs: [] };
    for (const name of Object.keys(chains)) {
      for await (const snapshot of client.snapshots.of(name).list()) chains[name]?.push(snapshot.name);
    }
    t.equal(chains['native']?.length, 3, 'the layer that both have, and one of each');
    t.equal(chains['overlayfs']?.length, 2);
    const labelled: string[][] = [];
    for (const entry of await imagesBelow(client, await storedIndex(client, digest))) {
      if (entry.platform?.os !== 'linux') continue;
      const { config } = parseManifest(await storedDocument(client, entry.digest));
      t.equal(parseImageConfig(await storedDocument(client, config.digest)).architecture, entry.platform.architecture);
      const { labels } = await client.content.info(config.digest);
      labelled.push(Object.keys(labels).sort());
    }
    const [native, overlayfs] = ['native', 'overlayfs'].map((name) => `containerd.io/gc.ref.snapshot.${name}`);
    t.same(labelled, [[native, overlayfs], [native], []]);
  });

  await t.test('a tag gives further names, by digest too, with labels; none is an error', async (t) => {
    const { digest } = graph.top.descriptor;
    const source = transferEnd(transferTypes.ImageStore, { name: manyPlatforms });
    const tag = (store: PartialMessage<transferTypes.ImageStore>): Promise<void> =>
      runTransfer(client.transport, source, transferEnd(transferTypes.ImageStore, store), {});
    await tag({ name: 'new/name:1', labels: { a: 'b' }, extraReferences: [{ name: 'more/names', addDigest: true }] });
    t.match(await client.images.get('new/name:1'), {
      labels: { a: 'b' },
      target: { mediaType: mediaTypes.index, digest },
    });
    t.equal((await client.images.get(`more/names@${digest}`)).target?.digest, digest);
    await t.rejects(tag({}), { code: 'failed precondition' });
    const absent = transferEnd(transferTypes.ImageStore, { name: 'no/such:1' });
    const to = transferEnd(transferTypes.ImageStore, { name: 'x:1' });
    await t.rejects(runTransfer(client.transport, absent, to, {}), { code: 'not found' });
  });

  await daemon.stop();
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
