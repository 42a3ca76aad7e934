import t from 'tap';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { codeOf, messageOf } from '@gantry/errors';
import { Differ } from '@gantry/diff';
import { chainIds, digestOf, mediaTypes, parseImageConfig, parseManifest } from '@gantry/oci';
import { NativeSnapshotter, OverlayfsSnapshotter, SnapshotStore } from '@gantry/snapshots';
import { KeyedTurns } from '../keyed-turns.ts';
import { readStored } from '../pull/documents.ts';
import { layerApplier } from '../testing/layer-applier.ts';
import { place, putImage } from '../testing/place.ts';
import type { MadeImage, Place } from '../testing/place.ts';
import { unpackImage } from './unpack-image.ts';
import type { LayerProgress, UnpackableImage, UnpackComponents } from './unpack-image.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-unpack-'));
const differ = new Differ();
t.teardown(async () => {
  await differ.close();
  rmSync(scratch, { recursive: true, force: true });
});

let places = 0;
function directory(): string {
  const dir = path.join(scratch, String(++places));
  mkdirSync(dir);
  return dir;
}

/** An archive of one file, by tar(1). */
function layerOf(name: string, text: string): Buffer {
  const dir = directory();
  writeFileSync(path.join(dir, name), text);
  return execFileSync('tar', ['-C', dir, '-cf', '-', name]);
}

interface Scene extends UnpackComponents {
  readonly where: Place;
  readonly snapshots: SnapshotStore;
}

async function sceneWith(snapshotter: string): Promise<Scene> {
  const where = await place(directory());
  const snapshotters = [new NativeSnapshotter({ root: directory() }), new OverlayfsSnapshotter({ root: directory() })];
  const snapshots = new SnapshotStore({ store: where.store, snapshotters });
  const applier = layerApplier(where.contentStore, differ);
  const shared = { namespace: 'ns', lease: 'lease', snapshotter, differ: applier, turns: new KeyedTurns() };
  return { ...shared, where, snapshots, content: where.contentStore };
}

async function imageOf({ where }: Scene, { descriptor, config }: MadeImage): Promise<UnpackableImage> {
  return {
    manifest: parseManifest(await readStored(where.content, descriptor, 1e6)),
    config: parseImageConfig(await readStored(where.content, config, 1e6)),
    configDigest: config.digest,
  };
}

const tars = skip === false ? [layerOf('a', 'lower'), layerOf('b', 'middle'), layerOf('a', 'upper')] : [];
const diffIds = tars.map((tar) => digestOf(tar));
const chain = chainIds(diffIds);

for (const snapshotter of ['native', 'overlayfs']) {
  t.test(`${snapshotter}: layers become a chain of snapshots, once`, { skip }, async (t) => {
    const scene = await sceneWith(snapshotter);
    const made = await putImage(scene.where, { layers: tars.map((tar) => gzipSync(tar)), diffIds });
    const image = await imageOf(scene, made);
    const applied: number[] = [];
    const onLayer = ({ index, state }: LayerProgress): void => void (state === 'unpacking' && applied.push(index));
    const tops = await Promise.all([unpackImage(scene, image, { onLayer }), unpackImage(scene, image, { onLayer })]);
    t.same(tops, [chain[2], chain[2]]);
    t.same(applied.toSorted(), [0, 1, 2], 'two at the same time do the work once');
    const names = [...scene.snapshots.list('ns', snapshotter)].map(({ name, kind, parent }) => [name, kind, parent]);
    t.same(
      new Map(names.map(([name, ...rest]) => [name, rest])),
      new Map(chain.map((name, index) => [name, ['committed', chain[index - 1] ?? '']])),
    );
    const [mount] = await scene.snapshots.view('ns', snapshotter, { key: 'look', parent: chain[2] ?? '' });
    const upper = mount?.type === 'bind' ? mount.source : /lowerdir=([^:]+)/.exec(mount?.options.join(',') ?? '')?.[1];
    t.equal(readFileSync(path.join(upper ?? '', 'a'), 'utf8'), 'upper');
    const { labels } = scene.where.contentStore.info('ns', made.config.digest);
    t.equal(labels[`containerd.io/gc.ref.snapshot.${snapshotter}`], chain[2]);
    const layer = scene.where.contentStore.info('ns', made.layers[1]?.digest ?? '');
    t.equal(layer.labels['containerd.io/uncompressed'], diffIds[1]);
    await unpackImage(scene, image, { onLayer });
    t.equal(applied.length, 3, 'what is there is not made again');
  });
}

t.test('layers are applied beside each other, and become the tree that they become one by one', { skip }, async (t) => {
  const pack = (script: string): Buffer => {
    const dir = directory();
    execFileSync('sh', ['-euc', script], { cwd: dir });
    return execFileSync('tar', ['--sort=name', '-C', dir, '-cf', '-', '.'], { maxBuffer: 1 << 26 });
  };
  const own = [
    pack('mkdir -p d/e gone opaque; echo 1 > d/e/f; echo 1 > gone/x; echo 1 > opaque/old; chmod 700 d; echo a > link'),
    pack('mkdir -p d opaque; echo 2 > d/g; touch opaque/.wh..wh..opq; echo 2 > opaque/new; touch .wh.gone'),
    // Directories that it does not bring look as below: it has to wait.
    execFileSync('sh', ['-euc', 'cd "$1"; mkdir -p d/e; echo 3 > d/e/h; tar -cf - d/e/h', 'sh', directory()]),
    pack('mkdir gone; echo 4 > gone/y; ln -s d soft; echo 4 > d; rm d; mkdir -p d/i'),
  ];
  const listings: string[] = [];
  const orders: number[][] = [];
  for (const snapshotter of ['native', 'overlayfs']) {
    const scene = await sceneWith(snapshotter);
    const ids = own.map((tar) => digestOf(tar));
    const made = await putImage(scene.where, { layers: own, diffIds: ids, layerType: mediaTypes.layer });
    const order: number[] = [];
    const onLayer = ({ index, state }: LayerProgress): void => void (state === 'unpacking' && order.push(index));
    const parent = await unpackImage(scene, await imageOf(scene, made), { onLayer });
    orders.push(order);
    const mounts = await scene.snapshots.prepare('ns', snapshotter, { key: 'look', parent });
    const [{ type = '', source = '', options = [] } = {}] = mounts;
    const target = directory();
    const script =
      'mount -t "$1" -o "$2" "$3" "$4"; cd "$4"; find . | sort | xargs stat -c "%n %F %a %u:%g %s"; cat d/e/* d/g';
    const words = ['--mount', '--', 'sh', '-euc', script, 'sh', type, options.join(','), source, target];
    listings.push(execFileSync('unshare', words).toString());
  }
  t.match(listings[0], /\.\/d\/e\/h regular file/);
  // The size of a directory is the file system's own affair.
  const [native, overlay] = listings.map((text) => text.replaceAll(/(directory .*) \d+$/gm, '$1'));
  t.equal(overlay, native);
  t.same(orders[0], [0, 1, 2, 3]);
  t.same(orders[1]?.toSorted(), [0, 1, 2, 2, 3], 'the one that depends on others is applied again');
});

t.test('a layer that fails ends those above it; those below it stay', { skip }, async (t) => {
  const scene = await sceneWith('overlayfs');
  const broken = [tars[0], Buffer.from('no archive'.repeat(100)), tars[2]].map((bytes) => bytes ?? Buffer.alloc(0));
  const ids = broken.map((bytes) => digestOf(bytes));
  const image = await imageOf(
    scene,
    await putImage(scene.where, { layers: broken, diffIds: ids, layerType: mediaTypes.layer }),
  );
  const arrival = new Promise<void>(() => undefined);
  const failing = unpackImage(scene, { ...image, layerStored: async (index) => (index === 2 ? arrival : undefined) });
  t.match(await failing.catch((err: unknown) => messageOf(err)), /unpacking layer 2 of 3/);
  t.same(
    [...scene.snapshots.list('ns', 'overlayfs')].map(({ name }) => name),
    [chainIds(ids)[0]],
  );
});

t.test('a layer is applied as soon as it is there, while the next is still on its way', { skip }, async (t) => {
  const scene = await sceneWith('native');
  const image = await imageOf(
    scene,
    await putImage(scene.where, { layers: tars, diffIds, layerType: mediaTypes.layer }),
  );
  const arrivals: (() => void)[] = [];
  const stored = image.manifest.layers.map(
    async () =>
      new Promise<void>((resolve) => {
        arrivals.push(resolve);
      }),
  );
  const seen: number[] = [];
  const done = unpackImage(
    scene,
    {
      ...image,
      async layerStored(index) {
        seen.push(index);
        await stored[index];
      },
    },
    { onLayer: ({ index }) => (index < 2 ? setTimeout(() => arrivals[index + 1]?.(), 50) : undefined) },
  );
  arrivals[0]?.();
  t.equal(await done, chain[2]);
  t.same([...new Set(seen)], [0, 1, 2]);
});

t.test('what cannot be unpacked leaves no half-made snapshot', { skip }, async (t) => {
  const scene = await sceneWith('native');
  const lie = [diffIds[0] ?? '', diffIds[0] ?? ''];
  const wrong = await imageOf(
    scene,
    await putImage(scene.where, { layers: tars.slice(0, 2), diffIds: lie, layerType: mediaTypes.layer }),
  );
  const names = (): string[] => [...scene.snapshots.list('ns', 'native')].map(({ name }) => name);
  const err: unknown = await unpackImage(scene, wrong).catch((thrown: unknown) => thrown);
  t.equal(codeOf(err), 'failed precondition');
  t.match(messageOf(err), /unpacking layer 2 of 2: wrong diff id calculated on extraction/);
  t.same(names(), [chain[0]], 'the first layer is right and stays');

  const few = await imageOf(
    scene,
    await putImage(scene.where, { layers: tars, diffIds: lie, layerType: mediaTypes.layer }),
  );
  t.equal(codeOf(await unpackImage(scene, few).catch((thrown: unknown) => thrown)), 'invalid argument');

  const absent = {
    ...(await imageOf(scene, await putImage(scene.where, { layers: tars, diffIds, layerType: mediaTypes.layer }))),
  };
  const broken = { ...absent, layerStored: async () => Promise.reject(new Error('it did not come')) };
  t.match(messageOf(await unpackImage(scene, broken).catch((thrown: unknown) => thrown)), /it did not come/);
  t.same(names(), [chain[0]]);

  const stop = new AbortController();
  const stopped: unknown = await unpackImage(scene, absent, { signal: stop.signal, onLayer: () => stop.abort() }).catch(
    (thrown: unknown) => thrown,
  );
  t.equal(codeOf(stopped), 'cancelled');
  t.same(names(), [chain[0]]);
  t.ok(existsSync(scene.where.contentStore.blobPath('ns', absent.manifest.layers[0]?.digest ?? '')));
});
