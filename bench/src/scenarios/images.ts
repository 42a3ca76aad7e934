/**
 * Images: an archive brought in and unpacked by Debian's `ctr`, and pulled from a registry; blobs written and read through the
 * API; a chain of a hundred snapshots; and what the daemon holds of the memory throughout.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { snapshots } from '@gantry/api';
import { connect } from '@gantry/client';
import { ctr, registryMissing, sha256, startRegistry } from '@gantry/test';
import { snapshotter } from '../peers/side.ts';
import type { Side } from '../peers/side.ts';
import { archiveName, largeArchive, layerCount } from './large-archive.ts';
import { freshId, sampled, timed } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const mebibyte = 2 ** 20;
const chainLength = 100;
/** One alone would be the disk's mood of that moment. */
const preparesOnTop = 20;
const shortRestMs = 10;
const afterRemovalsMs = 3000;
/** Garbage collection keeps off. */
const kept = { 'containerd.io/gc.root': 'bench' };
const timeoutMs = 300_000;

/** Processor time of the daemon and what it started, over `work`; undefined when the host does not count. */
async function costing(side: Side, work: () => Promise<unknown>): Promise<number | undefined> {
  const before = side.cpuMs();
  await work();
  const after = side.cpuMs();
  return before === undefined || after === undefined ? undefined : after - before;
}

/** The most memory the daemon has had at a time since the last call. */
function peakMegabytes(side: Side): number {
  const status = readFileSync(`/proc/${side.daemon.pid}/status`, 'utf8');
  const peak = Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) / 1000;
  writeFileSync(`/proc/${side.daemon.pid}/clear_refs`, '5');
  return peak;
}

async function mustCtr(side: Side, ...words: string[]): Promise<void> {
  const { code, stderr } = await ctr(side.daemon, side.namespace, words, { timeoutMs });
  if (code !== 0) throw new Error(`${side.title}: ctr ${words.join(' ')}: ${stderr}`);
}

async function sampleImport(bench: Bench, side: Side, kind: 'plain' | 'gzip', file: string): Promise<void> {
  const title = `import and unpack of ${bench.plan.imageMiB} MiB in ${layerCount} layers, ${kind}`;
  peakMegabytes(side);
  let took = 0;
  const cpuMs = await costing(side, async () => {
    took = await timed(async () => mustCtr(side, 'images', 'import', '--snapshotter', snapshotter, file));
  });
  bench.results.add({ key: `images/import-${kind}`, title, unit: 'ms' }, side.name, took);
  const cpu = { key: `images/import-${kind}-cpu`, title: '— processor time of the daemon', unit: 'ms' } as const;
  if (cpuMs !== undefined) bench.results.add(cpu, side.name, cpuMs);
  addPeak(bench, side);
  await mustCtr(side, 'images', 'rm', '--sync', archiveName);
}

/** What `ctr images pull` and the daemon take for it: fetched from a registry of this machine and unpacked while it comes. */
async function samplePull(bench: Bench, side: Side, reference: string): Promise<void> {
  const title = `pull of the same, gzip, from a registry on this machine`;
  let took = 0;
  const cpuMs = await costing(side, async () => {
    took = await timed(async () =>
      mustCtr(side, 'images', 'pull', '--plain-http', '--snapshotter', snapshotter, reference),
    );
  });
  bench.results.add({ key: 'images/pull', title, unit: 'ms' }, side.name, took);
  const cpu = { key: 'images/pull-cpu', title: '— processor time of the daemon', unit: 'ms' } as const;
  if (cpuMs !== undefined) bench.results.add(cpu, side.name, cpuMs);
  addPeak(bench, side);
  await mustCtr(side, 'images', 'rm', '--sync', reference);
}

/** Has `side` put the archive into a registry, from which both then pull. */
async function samplePulls(bench: Bench, side: Side, file: string): Promise<void> {
  const { imageRounds } = bench.plan;
  if (registryMissing !== undefined) {
    bench.say(`images: no pull: ${registryMissing}`);
    return;
  }
  const registry = await startRegistry(path.join(side.dir, 'registry'));
  try {
    const reference = `${registry.host}/large:1`;
    await mustCtr(side, 'images', 'import', '--no-unpack', file);
    await mustCtr(side, 'images', 'push', '--plain-http', reference, archiveName);
    await mustCtr(side, 'images', 'rm', '--sync', archiveName);
    bench.say(`images: a pull of it from a registry on this machine, ${imageRounds} times each`);
    await sampled(bench, imageRounds, async (each) => samplePull(bench, each, reference));
  } finally {
    await registry.stop();
  }
}

function addPeak(bench: Bench, side: Side): void {
  const info = { key: 'images/peak', title: 'most memory of the daemon meanwhile', unit: 'MB' } as const;
  bench.results.add(info, side.name, peakMegabytes(side));
}

/** By our own client: one stream of messages of a megabyte, answered one by one; one stream of answers. */
async function sampleBlob(bench: Bench, side: Side, blob: Buffer): Promise<void> {
  blob.write(freshId('blob'), 0); // the daemon has none like it
  const mebibytes = blob.length / mebibyte;
  const expected = sha256(blob);
  const pieces = Array.from({ length: mebibytes }, (_, n) => blob.subarray(n * mebibyte, (n + 1) * mebibyte));
  using client = connect({ address: side.daemon.address, namespace: side.namespace });
  const add = (what: 'write' | 'read', title: string, took: number, cpuMs: number | undefined): void => {
    const rate = { key: `images/blob-${what}`, title, unit: 'MiB/s', better: 'more' } as const;
    bench.results.add(rate, side.name, (mebibytes / took) * 1e3);
    const cpu = {
      key: `images/blob-${what}-cpu`,
      title: '— processor time of the daemon, each MiB',
      unit: 'ms',
    } as const;
    if (cpuMs !== undefined) bench.results.add(cpu, side.name, cpuMs / mebibytes);
  };
  let took = 0;
  const writing = await costing(side, async () => {
    took = await timed(() =>
      client.content.write(pieces, { ref: freshId('ref'), expected, sizeBytes: BigInt(blob.length) }),
    );
  });
  add('write', `a blob of ${mebibytes} MiB written through the API`, took, writing);
  const hash = createHash('sha256');
  const reading = await costing(side, async () => {
    took = await timed(async () => {
      for await (const bytes of client.content.read(expected)) hash.update(bytes);
    });
  });
  add('read', 'the same read', took, reading);
  if (`sha256:${hash.digest('hex')}` !== expected) throw new Error(`${side.title}: read other bytes than were written`);
  addPeak(bench, side);
  await mustCtr(side, 'content', 'rm', expected);
}

/** Prepares and commits a hundred snapshots on each other, then some more on top, one at a time. */
async function sampleChain(bench: Bench, side: Side): Promise<void> {
  const { connection } = side;
  const service = snapshots.SnapshotsService;
  const mark = freshId('chain');
  let parent = '';
  const took = await timed(async () => {
    for (let n = 0; n < chainLength; n += 1) {
      const [key, name] = [`${mark}-active-${n}`, `${mark}-${n}`];
      await connection.call(service, 'prepare', { snapshotter, key, parent, labels: kept });
      await connection.call(service, 'commit', { snapshotter, key, name, labels: kept });
      parent = name;
    }
  });
  const title = `prepare and commit of ${chainLength} snapshots, each on the last, a pair`;
  bench.results.add({ key: 'images/chain', title, unit: 'ms' }, side.name, took / chainLength);
  for (let n = 0; n < preparesOnTop; n += 1) {
    const key = `${mark}-top-${n}`;
    const top = await timed(() => connection.call(service, 'prepare', { snapshotter, key, parent, labels: kept }));
    const onTop = `— prepare on top of ${chainLength}`;
    bench.results.add({ key: 'images/chain-prepare', title: onTop, unit: 'ms' }, side.name, top);
    await sleep(shortRestMs); // what a removal leaves to do belongs to no prepare
    await connection.call(service, 'remove', { snapshotter, key });
    await sleep(shortRestMs);
  }
  for (let n = chainLength - 1; n >= 0; n -= 1) {
    await connection.call(service, 'remove', { snapshotter, key: `${mark}-${n}` });
  }
}

export const imagesScenario: Scenario = {
  name: 'images',
  title: 'images brought in and unpacked, blobs, chains of snapshots',
  async run(bench) {
    const { imageMiB, imageRounds, blobMiB } = bench.plan;
    const [side] = bench.sides;
    if (side === undefined) return;
    for (const kind of ['plain', 'gzip'] as const) {
      bench.say(`images: an archive of ${imageMiB} MiB, ${kind}, ${imageRounds} times each`);
      const file = path.join(side.dir, `large-${kind}.tar`);
      writeFileSync(file, largeArchive(imageMiB, kind === 'gzip'));
      await sampled(bench, imageRounds, async (each) => sampleImport(bench, each, kind, file));
      if (kind === 'gzip') await samplePulls(bench, side, file);
      rmSync(file);
    }
    bench.say(`images: blobs of ${blobMiB} MiB and chains of ${chainLength} snapshots`);
    const blob = randomBytes(blobMiB * mebibyte);
    await sampled(bench, imageRounds * 2, async (each) => sampleBlob(bench, each, blob));
    // containerd removes trees after the answer, each with a transaction: not to be in the time of the other side.
    await sampled(bench, imageRounds, async (each) => sampleChain(bench, each), afterRemovalsMs);
  },
};
