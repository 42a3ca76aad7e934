/**
 * The disk fills up at each place where something is written. Each call says so by its class and in a sentence; nothing of it stays,
 * everything stored before is whole; and when there is room again the same gantryd does the same thing.
 */
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { typeUrls } from '@gantry/api';
import { missing, ociArchive, run, sha256, tar, until } from '../index.ts';
import type { Marker } from '../index.ts';
import { failure, fill, fillUpTo, image, OwnDisk, pieces } from './own-disk.ts';

const MiB = 1 << 20;
/** The metadata store takes nothing new with less room than this. */
const storeNeeds = 64 * MiB;
/** How much room there is is not asked more often than this. */
const staleMs = 300;
const SIGKILL = 9;
const skip = missing('mount', 'busybox') ?? false;

t.setTimeout(300_000);

interface Place {
  /** Bytes left on the disk when it is tried. */
  readonly left: number;
  readonly ask: (disk: OwnDisk) => Promise<unknown>;
  /** What the sentence has in it. */
  readonly says: RegExp;
  /** Made before, while there is room. */
  readonly before?: (disk: OwnDisk) => Promise<unknown>;
  /** Undoes it after it succeeded. */
  readonly after?: (disk: OwnDisk) => Promise<unknown>;
}

/** So that the room is looked at anew when they have come. */
async function* slowly(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield bytes;
  await sleep(staleMs);
}

/** A layer that is small as a blob and large as files; runs of zeros would be holes. */
function swelling(sizeBytes: number): Buffer {
  const body = Buffer.alloc(sizeBytes, 'not zero');
  return tar([{ name: 'large', body }]);
}

const swollen = 'docker.io/library/swollen:latest';
const blob = randomBytes(8 * MiB);
const large = randomBytes(72 * MiB);

const places: Readonly<Record<string, Place>> = {
  'the bytes of an ingest': {
    left: storeNeeds + 4 * MiB,
    ask: (disk) => disk.client.content.write([large], { ref: 'large' }),
    says: /writing ingest "large": ENOSPC: no space left on device/,
    before: (disk) => disk.client.content.statuses(),
    after: (disk) => disk.client.content.delete(sha256(large)),
  },
  'the record of a blob': {
    left: storeNeeds + 4 * MiB,
    ask: (disk) => disk.client.content.write(slowly(blob), { ref: 'blob' }),
    says: /disk of .*\/meta: \d+ bytes free, \d+ required/,
    after: (disk) => disk.client.content.delete(sha256(blob)),
  },
  'a lease': {
    left: 0,
    ask: (disk) => disk.client.leases.create(),
    says: /disk of .*\/meta: \d+ bytes free, \d+ required/,
  },
  'the files of a layer': {
    left: storeNeeds + 4 * MiB,
    before: (disk) =>
      disk.client.images.import(pieces(ociArchive({ layers: [swelling(80 * MiB)], name: swollen })), { unpack: false }),
    ask: (disk) => disk.client.images.unpack(swollen),
    says: /tar entry "large": ENOSPC: no space left on device/,
    after: (disk) => disk.client.images.remove(swollen, { sync: true }),
  },
  'the tree of a snapshot': {
    left: 0,
    ask: (disk) => disk.client.snapshots.prepare('tree', ''),
    says: /no space left on device|bytes free/,
    after: (disk) => disk.client.snapshots.remove('tree'),
  },
  'the record of a container': {
    left: 0,
    ask: (disk) =>
      disk.client.containers.create({
        id: 'record',
        runtime: { name: 'io.containerd.runc.v2' },
        spec: { typeUrl: typeUrls.spec, value: Buffer.from('{}') },
      }),
    says: /bytes free/,
    after: (disk) => disk.client.containers.delete('record'),
  },
  'the layer of a commit': {
    left: storeNeeds + 4 * MiB,
    before: async (disk) => {
      await disk.client.createContainer({ id: 'c', image: 'small' });
      const [mount] = await disk.client.snapshots.mounts('c');
      const upper = mount?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length) ?? '';
      writeFileSync(path.join(upper, 'made'), randomBytes(8 * MiB));
    },
    ask: (disk) => disk.client.commit('c', 'committed'),
    says: /bytes free/,
    after: async (disk) => {
      await disk.client.images.remove('committed', { sync: true });
      await disk.client.removeContainer('c');
    },
  },
};

t.test('the disk fills up at one place after another', { skip, timeout: 280_000 }, async (t) => {
  const disk = new OwnDisk();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', disk.daemon.root]);
  t.teardown(() => disk.end());
  await disk.daemon.start();
  const { pid } = disk.daemon;
  const small = image('small', 100_000);
  await disk.client.images.import(pieces(small.bytes));
  const filler = path.join(disk.daemon.root, 'filler');
  const intact = async (marker: Marker): Promise<void> => {
    t.same(await disk.stored.spoiltBlobs(), [], 'blobs are whole');
    const { digests, chain } = disk.stored.blobsOf((await disk.client.images.get(small.name)).target?.digest ?? '');
    for (const digest of digests) t.equal((await disk.client.content.info(digest)).digest, digest);
    for (const id of chain) t.equal((await disk.client.snapshots.stat(id)).name, id);
    const files = readdirSync(path.join(disk.daemon.root, 'snapshots/overlayfs/snapshots'));
    const found = files
      .map((id) => path.join(disk.daemon.root, 'snapshots/overlayfs/snapshots', id, 'fs', marker.file))
      .filter((file) => existsSync(file));
    t.same(
      found.map((file) => sha256(readFileSync(file)).slice('sha256:'.length)),
      [marker.sha256],
      'and so are files',
    );
  };

  for (const [what, place] of Object.entries(places)) {
    await t.test(what, async (t) => {
      await place.before?.(disk);
      const snapshots = await count(disk.client.snapshots.list());
      fillUpTo(filler, place.left);
      if (place.left === 0) fill(path.join(disk.daemon.root, 'rest'));
      await sleep(staleMs);
      const [code, text] = await failure(place.ask(disk));
      t.equal(code, 'resource exhausted', text);
      t.match(text, place.says);
      await intact(small.marker);
      rmSync(filler);
      rmSync(path.join(disk.daemon.root, 'rest'), { force: true });
      await until('what it left to go', async () => (await count(disk.client.snapshots.list())) === snapshots, 60_000);
      await until('the room to be noticed', async () => (await failure(place.ask(disk)))[0] === 'done', 60_000);
      await place.after?.(disk);
      t.equal(disk.daemon.pid, pid);
      t.same(await disk.stored.leftOver(), [], 'nothing is left of what failed');
    });
  }
  t.same(await disk.stored.lacks(small.name, small.marker), []);
});

t.test('there is no room for the state of a task, nor for its log', { skip, timeout: 120_000 }, async (t) => {
  const disk = new OwnDisk();
  const logs = path.join(disk.dir, 'logs');
  for (const dir of [disk.daemon.state, logs]) mkdirSync(dir, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'tmpfs', disk.daemon.root]);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk.daemon.state]);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', logs]);
  t.teardown(async () => {
    await disk.stop('kill');
    for (const dir of [disk.daemon.state, logs]) await run('umount', ['--lazy', dir]);
    await disk.end();
  });
  await disk.daemon.start();
  const small = image('small', 1000);
  await disk.client.images.import(pieces(small.bytes));
  const task = (id: string, log: string): Parameters<typeof disk.client.createTask> => [
    id,
    { stdio: { kind: 'uri', uri: `file://${path.join(logs, log)}` } },
  ];

  await t.test('a task', async (t) => {
    await disk.client.createContainer({ id: 'c', image: small.name, args: ['sleep', '1000'] });
    const filler = path.join(disk.daemon.state, 'filler');
    fill(filler);
    const [code, text] = await failure(disk.client.createTask(...task('c', 'c')));
    t.equal(code, 'resource exhausted', text);
    t.match(text, /no space left on device/i);
    t.same(await disk.client.tasks.list(), []);
    rmSync(filler);
    const process = await disk.client.createTask(...task('c', 'c'));
    await process.start();
    await process.kill(SIGKILL);
    t.equal((await process.wait()).exitStatus, 137);
    await disk.client.removeContainer('c');
  });

  await t.test('a log: the container goes on and is heard again', async (t) => {
    const script = 'yes "a line of the log" | head -c 4000000; echo done >&2; while sleep 0.1; do echo heard; done';
    await disk.client.createContainer({ id: 'l', image: small.name, args: ['sh', '-c', script] });
    const process = await disk.client.createTask(...task('l', 'l'));
    await process.start();
    const log = path.join(logs, 'l');
    await until('the disk of the log to be full', () => existsSync(log) && readFileSync(log).length > 900_000, 60_000);
    t.equal((await disk.client.tasks.get('l')).status, 2, 'it runs');
    execFileSync('mount', ['-o', 'remount,size=16m', logs]);
    await until('it to be heard', () => readFileSync(log, 'latin1').includes('\nheard\n'), 60_000);
    t.match(readFileSync(log, 'latin1'), /^(a line of the log\n){40000}/);
    await process.kill(SIGKILL);
    await process.wait();
    await disk.client.removeContainer('l');
  });
});

async function count(items: AsyncIterable<unknown>): Promise<number> {
  let found = 0;
  for await (const _ of items) found += 1;
  return found;
}
