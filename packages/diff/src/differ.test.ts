import t from 'tap';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { Differ } from './differ.ts';
import { Bench, bind, directory, file, layerType, listing, sha256, tarOf } from './testing/layers.ts';

const differ = new Differ({ idleMs: 1000 });
t.teardown(async () => differ.close());

const entries = [directory('d'), file('d/f', 'content'), file('g', 'x'.repeat(100_000))];
const tar = tarOf(entries);

t.test('the result is the uncompressed layer, whatever packing the media type claims', async (t) => {
  const zstd = execFileSync('zstd', ['-qc'], { input: tar });
  const blobs: readonly (readonly [string, Buffer, string])[] = [
    ['plain', tar, layerType],
    ['gzip', gzipSync(tar), `${layerType}+gzip`],
    [
      'gzip in two members',
      Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]),
      `${layerType}+gzip`,
    ],
    ['zstd', zstd, `${layerType}+zstd`],
    ['gzip called zstd', gzipSync(tar), `${layerType}+zstd`],
    ['plain called gzip', tar, `${layerType}+gzip`],
    ['docker', gzipSync(tar), 'application/vnd.docker.image.rootfs.diff.tar.gzip'],
    ['docker, plain', tar, 'application/vnd.docker.image.rootfs.diff.tar.gzip'],
    ['non-distributable', gzipSync(tar), 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'],
  ];
  for (const [what, blob, mediaType] of blobs) {
    const bench = new Bench(t);
    const result = await differ.apply(bench.requestFor(blob, mediaType));
    t.same(result, { mediaType: layerType, digest: sha256(tar), size: BigInt(tar.length) }, what);
    t.equal(readFileSync(path.join(bench.root, 'd/f'), 'utf8'), 'content');
  }
});

t.test('an unknown or encrypted media type has no processor', async (t) => {
  const bench = new Bench(t);
  for (const mediaType of ['application/octet-stream', '', `${layerType}+gzip+encrypted`]) {
    const refused = differ.apply(bench.requestFor(tar, mediaType));
    await t.rejects(refused, { code: 'not implemented', message: /no processor for media-type/ }, mediaType);
  }
});

t.test('a blob that is not what its digest says is data loss', async (t) => {
  const bench = new Bench(t);
  const good = bench.request(tar);
  const other = sha256(Buffer.from('other'));
  await t.rejects(differ.apply({ ...bench.requestFor(tar, layerType), digest: other }), {
    code: 'data loss',
    message: /has the digest/,
  });
  const unpacked = await differ.apply({ ...good, digest: other });
  t.equal(unpacked.digest, sha256(tar), 'of a packed blob that unpacks the diff ID tells');
  await t.rejects(differ.apply({ ...good, size: 5n }), { code: 'data loss', message: /bytes, expected 5/ });
  const corrupt = gzipSync(tar);
  corrupt.fill(0, 60, 80);
  const request = bench.requestFor(corrupt, `${layerType}+gzip`);
  await t.rejects(
    differ.apply({ ...request, digest: sha256(gzipSync(tar)) }),
    { code: 'data loss' },
    'corrupt on disk',
  );
  await t.rejects(differ.apply({ ...request, digest: 'sha256:../..' }), { code: 'invalid argument' });
});

t.test('a blob that is what it says and is malformed is an invalid argument', async (t) => {
  const bench = new Bench(t);
  const packed = gzipSync(tar);
  const wrong: readonly (readonly [string, Buffer])[] = [
    ['gzip cut short', packed.subarray(0, packed.length - 20)],
    ['gzip with a hole', Buffer.concat([packed.subarray(0, 40), Buffer.alloc(20), packed.subarray(60)])],
    ['tar cut short', gzipSync(tar.subarray(0, 1000))],
    ['zstd cut short', execFileSync('zstd', ['-qc'], { input: tar }).subarray(0, 60)],
    ['not a tar', gzipSync(Buffer.alloc(2000, 'hello'))],
  ];
  for (const [what, blob] of wrong) {
    await t.rejects(differ.apply(bench.requestFor(blob, `${layerType}+gzip`)), { code: 'invalid argument' }, what);
  }
});

t.test('the blob is read to its last byte, past the end of the tar', async (t) => {
  const bench = new Bench(t);
  const long = Buffer.concat([tar, Buffer.alloc(5_000_000)]);
  const result = await differ.apply(bench.request(long));
  t.same([result.digest, result.size], [sha256(long), BigInt(long.length)]);
});

t.test('mounts that cannot be written are refused', async (t) => {
  const bench = new Bench(t);
  await t.rejects(differ.apply(bench.request(tar, { mounts: [] })), { code: 'invalid argument' });
  await t.rejects(differ.apply(bench.request(tar, { mounts: [bind(bench.root, 'ro')] })), { code: 'invalid argument' });
  await t.rejects(differ.apply(bench.request(tar, { mounts: [bind('/nonexistent')] })), { message: /ENOENT/ });
  const missing = { ...bench.request(tar), blobPath: '/nonexistent' };
  await t.rejects(differ.apply(missing), { message: /ENOENT/ });
  t.same(readdirSync(bench.root), []);
});

t.test('more jobs than workers wait for each other', async (t) => {
  const small = new Differ({ maximumWorkers: 2, idleMs: 1000 });
  t.teardown(async () => small.close());
  const benches = Array.from({ length: 6 }, () => new Bench(t));
  const results = await Promise.all(benches.map(async (bench) => small.apply(bench.request(tar))));
  t.equal(new Set(results.map(({ digest }) => digest)).size, 1);
  t.equal(new Set(benches.map((bench) => listing(bench.root).replaceAll(/ \d{10} /g, ' '))).size, 1);
});

t.test('one worker is made ready, waits as long as any, and does the next job', async (t) => {
  const cold = new Differ({ idleMs: 60_000 });
  t.teardown(async () => cold.close());
  const children = (): string[] =>
    readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean);
  const before = children();
  cold.warm();
  cold.warm();
  const made = children().filter((pid) => !before.includes(pid));
  t.equal(made.length, 1);
  const bench = new Bench(t);
  t.equal((await cold.apply(bench.request(tar))).digest, sha256(tar));
  cold.warm();
  t.same(
    children().filter((pid) => !before.includes(pid)),
    made,
  );
  await cold.close();
  cold.warm();
  t.same(
    children().filter((pid) => !before.includes(pid)),
    [],
    'a closed one makes nothing ready',
  );
  const brief = new Differ({ idleMs: 1 });
  t.teardown(async () => brief.close());
  brief.warm();
  while (children().some((pid) => !before.includes(pid))) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal((await brief.apply(new Bench(t).request(tar))).digest, sha256(tar), 'one that has left is replaced');
});

t.test('a worker that is just leaving gets no more jobs', async (t) => {
  const hasty = new Differ({ idleMs: 0 });
  t.teardown(async () => hasty.close());
  for (let round = 0; round < 4; round++) {
    await hasty.apply(new Bench(t).request(tar));
    // By now it was told to go, and is not gone yet.
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
});

/** A layer that takes long enough to be interrupted. */
const slow = tarOf(Array.from({ length: 40_000 }, (_, index) => file(`d${index % 100}/f${index}`, 'x')));

t.test('an aborted job ends at once, and the next one is served', async (t) => {
  const bench = new Bench(t);
  const controller = new AbortController();
  const job = differ.apply(bench.request(slow), { signal: controller.signal });
  const waiting = new Bench(t);
  setTimeout(() => controller.abort(), 150);
  await t.rejects(job, { code: 'cancelled' });
  await differ.apply(waiting.request(tar));
  await t.rejects(differ.apply(bench.request(tar), { signal: controller.signal }), { code: 'cancelled' });
});

const childrenOf = (pid: number): number[] => {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? [] : children.split(' ').map(Number);
};

t.test('a killed worker fails its job with a clear error', async (t) => {
  const own = new Differ({ maximumWorkers: 1 });
  t.teardown(async () => own.close());
  const before = new Set(childrenOf(process.pid));
  const bench = new Bench(t);
  const job = own.apply(bench.request(slow));
  const [worker] = childrenOf(process.pid).filter((pid) => !before.has(pid));
  setTimeout(() => worker !== undefined && process.kill(worker, 'SIGKILL'), 150);
  await t.rejects(job, { code: 'unavailable', message: /worker ended by signal SIGKILL/ });
  t.same((await own.apply(new Bench(t).request(tar))).digest, sha256(tar), 'the next job gets a new one');
});

t.test('closing ends what is under way', async (t) => {
  const own = new Differ({ maximumWorkers: 1 });
  const bench = new Bench(t);
  const jobs = [own.apply(bench.request(slow)), own.apply(bench.request(tar))];
  const outcomes = Promise.allSettled(jobs);
  await own.close();
  t.same(
    (await outcomes).map((each) => each.status),
    ['rejected', 'rejected'],
  );
  await t.rejects(own.apply(bench.request(tar)), { code: 'unavailable' });
});

t.test('workers die with their parent, however it dies', async (t) => {
  const bench = new Bench(t);
  const request = bench.request(slow);
  const program = path.join(bench.dir, 'parent.mjs');
  const module = fileURLToPath(new URL('./index.js', import.meta.url));
  const text = JSON.stringify({ ...request, size: undefined });
  writeFileSync(
    program,
    `import { Differ } from ${JSON.stringify(module)};\nvoid new Differ().apply(${text}); console.log('started');`,
  );
  const parent = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(parent, 'exit');
  await once(parent.stdout, 'data');
  const [worker = 0] = childrenOf(parent.pid ?? 0);
  t.ok(worker > 0);
  await new Promise((resolve) => {
    setTimeout(resolve, 200);
  });
  parent.kill('SIGKILL');
  await exited;
  const state = (): string => {
    try {
      return readFileSync(`/proc/${worker}/stat`, 'utf8').split(') ')[1]?.[0] ?? '';
    } catch {
      return 'gone';
    }
  };
  for (let tries = 0; tries < 100 && !['gone', 'Z'].includes(state()); tries++) {
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
  t.match(state(), /gone|Z/);
});
