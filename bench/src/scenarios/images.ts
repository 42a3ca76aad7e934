/**
 * Images: an archive brought in and unpacked by Debian's `ctr`, blobs written and read through the API, a chain of a hundred
 * snapshots; and what the daemon holds of the memory throughout.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { snapshots } from '@gantry/api';
import { connect } from '@gantry/client';
import { ctr, sha256, tar } from '@gantry/test';
import type { TarEntry } from '@gantry/test';
import { snapshotter } from '../peers/side.ts';
import type { Side } from '../peers/side.ts';
import { freshId, sampled, timed } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const mebibyte = 2 ** 20;
const layerCount = 5;
const chainLength = 100;
/** One alone would be the disk's mood of that moment. */
const preparesOnTop = 20;
const shortRestMs = 10;
/** Garbage collection keeps off. */
const kept = { 'containerd.io/gc.root': 'bench' };
const timeoutMs = 300_000;
const archiveName = 'docker.io/library/large:1';

/** Files of 4 KiB to 4 MiB, most of them small, half of their bytes without a pattern; a tenth of the space in each size. */
function layerFiles(layer: number, mebibytes: number): TarEntry[] {
  const entries: TarEntry[] = [{ name: `layer${layer}/`, type: 'directory', mode: 0o755 }];
  const text = Buffer.alloc(4 * mebibyte, 'a line as programs and their data have them, more or less\n');
  let left = mebibytes * mebibyte;
  for (let count = 0; left > 0; count += 1) {
    if (count % 100 === 0) entries.push({ name: `layer${layer}/d${count / 100}/`, type: 'directory', mode: 0o755 });
    const size = Math.min(left, 4096 * 2 ** ((count * 7) % 11));
    const half = size >> 1;
    const body = Buffer.concat([randomBytes(half), text.subarray(0, size - half)]);
    entries.push({ name: `layer${layer}/d${Math.floor(count / 100)}/f${count}`, body });
    left -= size;
  }
  return entries;
}

/** An OCI archive of five layers, plain or packed. */
function largeArchive(mebibytes: number, pack: boolean): Buffer {
  const blobs: TarEntry[] = [];
  const add = (bytes: Buffer, mediaType: string): { mediaType: string; digest: string; size: number } => {
    const digest = sha256(bytes);
    blobs.push({ name: `blobs/sha256/${digest.slice(7)}`, body: bytes });
    return { mediaType, digest, size: bytes.length };
  };
  const diffIds: string[] = [];
  const layerType = 'application/vnd.oci.image.layer.v1.tar';
  const layers = Array.from({ length: layerCount }, (_, index) => {
    const layer = tar(layerFiles(index, mebibytes / layerCount));
    diffIds.push(sha256(layer));
    return pack ? add(gzipSync(layer, { level: 1 }), `${layerType}+gzip`) : add(layer, layerType);
  });
  const platform = { os: 'linux', architecture: process.arch === 'arm64' ? 'arm64' : 'amd64' };
  const config = { ...platform, config: {}, rootfs: { type: 'layers', diff_ids: diffIds } };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: add(Buffer.from(JSON.stringify(config)), 'application/vnd.oci.image.config.v1+json'),
    layers,
  };
  const descriptor = add(Buffer.from(JSON.stringify(manifest)), manifest.mediaType);
  const named = { ...descriptor, annotations: { 'io.containerd.image.name': archiveName } };
  return tar([
    { name: 'oci-layout', body: '{"imageLayoutVersion":"1.0.0"}' },
    { name: 'index.json', body: JSON.stringify({ schemaVersion: 2, manifests: [named] }) },
    ...blobs,
  ]);
}

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
      rmSync(file);
    }
    bench.say(`images: blobs of ${blobMiB} MiB and chains of ${chainLength} snapshots`);
    const blob = randomBytes(blobMiB * mebibyte);
    await sampled(bench, imageRounds * 2, async (each) => sampleBlob(bench, each, blob));
    await sampled(bench, imageRounds, async (each) => sampleChain(bench, each));
  },
};
