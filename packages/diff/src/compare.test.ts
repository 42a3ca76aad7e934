import t from 'tap';
import { execFileSync } from 'node:child_process';
import { cpSync, lstatSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { EntryHeader } from '@gantry/archive';
import { readTar } from '@gantry/archive';
import { Differ } from './differ.ts';
import type { CompareRequest, CompareResult } from './differ-types.ts';
import { Bench, bind, insideOverlay, layerType, listing, overlay, sha256 } from './testing/layers.ts';

const rootOnly = { skip: process.getuid?.() === 0 ? false : 'needs root' };
const differ = new Differ({ idleMs: 1000 });
t.teardown(async () => differ.close());

async function compare(request: CompareRequest): Promise<{ result: CompareResult; blob: Buffer }> {
  const chunks: Uint8Array[] = [];
  const result = await differ.compare(request, async (chunk) => {
    chunks.push(chunk);
    return Promise.resolve();
  });
  return { result, blob: Buffer.concat(chunks) };
}

async function headers(tar: Buffer): Promise<EntryHeader[]> {
  const found: EntryHeader[] = [];
  for await (const { header } of readTar([tar])) found.push(header);
  return found;
}

const sh = (cwd: string, script: string): string => execFileSync('sh', ['-ec', script], { cwd }).toString();

/** A tree and, copied from it with everything, another one to change. */
const base = `
  mkdir -p d/sub same/deep was-dir/x; echo 1 > d/a; echo 1 > d/b; echo 1 > d/sub/c; echo 1 > same/deep/f; echo 1 > was-file
  echo 1 > was-dir/x/y; echo 1 > linked; ln linked link2; ln linked link3; ln -s a d/soft; mkfifo pipe; mknod null c 1 3
  head -c 600000 /dev/urandom > big; touch -d @1000000000 d/a same/deep/f trunc; chown 5:6 d/b; printf x > emptied`;
const changes = `
  echo 22 > d/a; rm d/b; rm -r d/sub; mkdir d/new; echo n > d/new/n; rm -r was-dir; echo file > was-dir; rm was-file; mkdir was-file
  echo in > was-file/in; echo more >> linked; ln -sf b d/soft; chmod 600 pipe; chown 7:8 null; echo x >> big; : > emptied
  printf bad > "$(printf 'n\\377')"; chmod 4755 trunc; mkdir -p "long/$(printf 'l%.0s' $(seq 200))"`;

t.test('the layer between two trees turns one into the other', rootOnly, async (t) => {
  const bench = new Bench(t);
  const [left, right] = [bench.sub('left'), bench.sub('right')];
  sh(left, base);
  execFileSync('cp', ['-a', `${left}/.`, right]);
  sh(right, changes);
  for (const mediaType of ['', layerType, `${layerType}+gzip`, `${layerType}+zstd`]) {
    const { result, blob } = await compare({ left: [bind(left, 'ro')], right: [bind(right)], mediaType });
    t.equal(result.mediaType, mediaType === '' ? `${layerType}+gzip` : mediaType);
    t.same([result.digest, result.size], [sha256(blob), BigInt(blob.length)]);
    const rebuilt = bench.sub(`rebuilt${mediaType.slice(-5).replaceAll('/', '')}`);
    execFileSync('cp', ['-a', `${left}/.`, rebuilt]);
    const applied = await differ.apply({ ...bench.requestFor(blob, result.mediaType), mounts: [bind(rebuilt)] });
    t.equal(applied.digest, result.diffId);
    t.equal(listing(rebuilt), listing(right), mediaType);
  }
});

t.test('what is in it: changes, their directories, whiteouts, and nothing else', rootOnly, async (t) => {
  const bench = new Bench(t);
  const [left, right] = [bench.sub('left'), bench.sub('right')];
  sh(left, base);
  execFileSync('cp', ['-a', `${left}/.`, right]);
  sh(
    right,
    'echo 22 > d/a; rm d/b; rm -r d/sub; echo more >> linked; touch same/new; : > emptied; touch -d @1234567890.5 d/a',
  );
  const { blob } = await compare({
    left: [bind(left)],
    right: [bind(right)],
    mediaType: '',
    sourceDateEpoch: 1_700_000_000n,
  });
  const found = await headers(gunzipSync(blob));
  t.same(
    found.map(({ type, name, linkName }) => `${type} ${name.toString()} ${linkName.toString()}`.trim()),
    [
      'directory d/',
      'file d/a',
      'file d/.wh.b',
      'file d/.wh.sub',
      'file emptied',
      'file link2',
      'hardlink link3 link2',
      'hardlink linked link2',
      'directory same/',
      'file same/new',
    ],
  );
  const byName = new Map(found.map((header) => [header.name.toString(), header]));
  t.match(byName.get('d/a'), { mtimeNs: 1_234_567_890_000_000_000n, userName: '', size: 3n });
  t.equal(byName.get('d/a')?.atimeNs, undefined);
  t.equal(byName.get('same/new')?.mtimeNs, 1_700_000_000_000_000_000n, 'not later than the source date epoch');
  t.match(byName.get('d/.wh.b'), { mtimeNs: 0n, size: 0n });
});

t.test('trees that are the same give an empty layer, the same every time', rootOnly, async (t) => {
  const bench = new Bench(t);
  const left = bench.sub('left');
  sh(left, base);
  const [one, two] = [
    await compare({ left: [bind(left)], right: [bind(left)], mediaType: '' }),
    await compare({ left: [bind(left)], right: [bind(left)], mediaType: '' }),
  ];
  t.same(await headers(gunzipSync(one.blob)), []);
  t.equal(one.result.digest, two.result.digest);
});

t.test('a time cut to seconds proves nothing: the content decides', rootOnly, async (t) => {
  const bench = new Bench(t);
  const [left, right] = [bench.sub('left'), bench.sub('right')];
  for (const [dir, text] of [
    [left, 'old'],
    [right, 'new'],
  ] as const) {
    sh(dir, `printf ${text} > f; printf same > g; ln -s ${text} l; touch -hd @1000000000 f g l`);
  }
  const { blob } = await compare({ left: [bind(left)], right: [bind(right)], mediaType: layerType });
  t.same(
    (await headers(blob)).map(({ name }) => name.toString()),
    ['f', 'l'],
  );
});

t.test('an active overlay is compared with its parent, in use or not', rootOnly, async (t) => {
  const bench = new Bench(t);
  const [lower = '', middle = '', upper = '', work = '', target = ''] = ['l', 'm', 'u', 'w', 't'].map((name) =>
    bench.sub(name),
  );
  sh(lower, base);
  writeFileSync(path.join(middle, 'middle'), 'm');
  const mount = overlay(upper, work, [middle, lower]);
  insideOverlay(mount, target, changes);
  const parent = { type: 'overlay', source: 'overlay', options: [`lowerdir=${middle}:${lower}`] };
  const { result, blob } = await compare({ left: [parent], right: [mount], mediaType: '' });
  const names = (await headers(gunzipSync(blob))).map(({ name }) => name.toString());
  t.ok(
    ['d/.wh.b', 'd/.wh.sub', 'd/a', 'was-dir', 'was-file/in', 'trunc'].every((name) => names.includes(name)),
    names.join(' '),
  );
  t.notOk(names.includes('middle') || names.includes('same/'));
  const [upper2 = '', work2 = ''] = ['u2', 'w2'].map((name) => bench.sub(name));
  const again = overlay(upper2, work2, [middle, lower]);
  await differ.apply({ ...bench.requestFor(blob, result.mediaType), mounts: [again] });
  const list = 'find . -printf "%p %y %m %U:%G %s %l\\n" | sort; cat d/a linked was-dir';
  t.equal(insideOverlay(again, target, list), insideOverlay(mount, target, list));
  t.same(bench.hostMounts(), []);
});

t.test('many layers with long paths fit into one mount', rootOnly, async (t) => {
  const bench = new Bench(t);
  const lowers = Array.from({ length: 100 }, (_, index) => bench.sub(`a-rather-long-name-for-a-directory/${index}/fs`));
  for (const [index, dir] of lowers.entries()) writeFileSync(path.join(dir, `f${index}`), 'x');
  const empty = bench.sub('empty');
  const all = { type: 'overlay', source: 'overlay', options: ['index=off', `lowerdir=${lowers.join(':')}`] };
  const { blob } = await compare({ left: [bind(empty)], right: [all], mediaType: layerType });
  t.equal((await headers(blob)).length, 100);
});

t.test('media types that cannot be written are not implemented; a failing sink ends the job', rootOnly, async (t) => {
  const bench = new Bench(t);
  const [left, right] = [bench.sub('left'), bench.sub('right')];
  mkdirSync(path.join(right, 'd'));
  cpSync('/bin/sh', path.join(right, 'd/sh'), { dereference: true });
  t.ok(lstatSync(path.join(right, 'd/sh')).size > 0);
  await t.rejects(compare({ left: [bind(left)], right: [bind(right)], mediaType: 'text/plain' }), {
    code: 'not implemented',
  });
  const failing = differ.compare({ left: [bind(left)], right: [bind(right)], mediaType: '' }, async () =>
    Promise.reject(new Error('no room')),
  );
  await t.rejects(failing, { message: 'no room' });
  const { result } = await compare({ left: [bind(left)], right: [bind(right)], mediaType: '' });
  t.ok(result.size > 0n);
});
