import t from 'tap';
import type { Test } from 'tap';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { Differ } from './differ.ts';
import type { StreamProcessor } from './differ-types.ts';
import { Bench, file, layerType, overlay, sha256, tarOf } from './testing/layers.ts';

const secretType = `${layerType}+secret`;
const tar = tarOf([file('f', 'content'), file('g', 'x'.repeat(3_000_000))]);
const plain = { mediaType: layerType, digest: sha256(tar), size: BigInt(tar.length) };
const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin' };

/** openssl, a real decoder: what it says on stderr is not ours. */
const password = 'pass:correct horse';
const cipher = ['enc', '-aes-256-ctr', '-pbkdf2', '-pass'];
const encrypt = (bytes: Buffer): Buffer =>
  execFileSync('openssl', [...cipher, password], { input: bytes, maxBuffer: 64 * 1024 * 1024 });

const shell = (script: string, more: Partial<StreamProcessor> = {}): StreamProcessor => ({
  name: 'shell',
  accepts: [secretType],
  returns: layerType,
  path: 'sh',
  args: ['-c', script],
  env,
  ...more,
});

/** Whether the process is there and not only waits to be buried. */
function runs(pid: string): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

function differWith(t: Test, ...processors: StreamProcessor[]): Differ {
  const differ = new Differ({ idleMs: 1000, processors });
  t.teardown(async () => differ.close());
  return differ;
}

t.test('an encrypted, gzip’ed layer is decrypted by openssl and unpacked', async (t) => {
  const decrypt = { name: 'openssl', accepts: [secretType], returns: `${layerType}+gzip`, path: 'openssl', env };
  const differ = differWith(t, { ...decrypt, args: [...cipher, password, '-d'] });
  const bench = new Bench(t);
  t.same(await differ.apply(bench.requestFor(encrypt(gzipSync(tar)), secretType)), plain);
  t.equal(readFileSync(path.join(bench.root, 'f'), 'utf8'), 'content');
  const wrong = differWith(t, { ...decrypt, args: [...cipher, 'pass:wrong', '-d'] });
  await t.rejects(wrong.apply(bench.requestFor(encrypt(gzipSync(tar)), secretType)), { code: 'invalid argument' });
  await t.rejects(differ.apply(bench.requestFor(tar, `${layerType}+other`)), { code: 'not implemented' });
});

t.test('processors follow each other, and come before what is known of a type', async (t) => {
  const first = shell('cat', { returns: `${layerType}+more` });
  const second = shell('gzip -dc', { accepts: [`${layerType}+more`] });
  const bench = new Bench(t);
  t.same(await differWith(t, first, second).apply(bench.requestFor(gzipSync(tar), secretType)), plain);
  const noted = path.join(bench.dir, 'blob-noted');
  const own = shell(`echo "$STREAM_PROCESSOR_MEDIATYPE $X" > ${noted}; gzip -dc`, {
    accepts: [`${layerType}+gzip`],
    env: { ...env, X: 'y' },
  });
  t.same(await differWith(t, own).apply(bench.requestFor(gzipSync(tar), `${layerType}+gzip`)), plain);
  t.equal(readFileSync(noted, 'utf8'), `${layerType}+gzip y\n`);
  const circle = shell('cat', { returns: secretType });
  await t.rejects(differWith(t, circle).apply(bench.requestFor(tar, secretType)), { code: 'failed precondition' });
});

const skip = process.getuid?.() === 0 ? false : 'needs root';
t.test('onto an overlay too, which the worker mounts for itself', { skip }, async (t) => {
  const bench = new Bench(t);
  const [upper, work, lower] = [bench.sub('upper'), bench.sub('work'), bench.sub('lower')];
  writeFileSync(path.join(lower, 'f'), 'below');
  const request = { ...bench.requestFor(gzipSync(tar), secretType), mounts: [overlay(upper, work, [lower])] };
  const differ = differWith(t, shell('gzip -dc'));
  t.same(await differ.apply(request), plain);
  t.equal(readFileSync(path.join(upper, 'f'), 'utf8'), 'content');
  t.same(await differ.apply(request), plain, 'by the same worker again');
});

t.test('what the caller sends for a processor is on its descriptor 3', async (t) => {
  const bench = new Bench(t);
  const noted = path.join(bench.dir, 'blob-payload');
  const any = Buffer.from('an encoded message');
  const request = { ...bench.requestFor(tar, secretType), payloads: { shell: any, other: Buffer.from('no') } };
  const differ = differWith(t, shell(`cat <&3 > ${noted}; cat`));
  t.same(await differ.apply(request), plain);
  t.same(readFileSync(noted), any);
  const without = shell('if [ -e /proc/self/fd/3 ]; then echo there >&2; exit 1; fi; cat');
  t.same(await differWith(t, without).apply(bench.requestFor(tar, secretType)), plain);
});

t.test('a processor that fails is the reason, whatever came out of it', async (t) => {
  const bench = new Bench(t);
  const gzip = { returns: `${layerType}+gzip` };
  const cases: readonly (readonly [StreamProcessor, RegExp])[] = [
    [shell('echo no key >&2; exit 3'), /stream processor shell ended by exit status 3: no key/],
    [shell('cat; echo late >&2; exit 4'), /exit status 4: late/],
    [shell('kill -9 $$'), /ended by signal SIGKILL/],
    [shell('head -c 700000; exit 5'), /exit status 5/],
    [shell('gzip -c | head -c 100; exit 6', gzip), /exit status 6|gzip data/],
    [shell('', { path: '/nonexistent/decoder' }), /failed to execute .*No such file/],
  ];
  for (const [processor, message] of cases) {
    const applied = differWith(t, processor).apply(bench.requestFor(tar, secretType));
    await t.rejects(applied, { message }, processor.args.join(' '));
  }
});

t.test(
  'the blob is hashed to its end also by who does not read it, and nonsense is told from another blob',
  async (t) => {
    const bench = new Bench(t);
    const differ = differWith(t, shell('head -c 1000 > /dev/null; echo nonsense; exit 0'));
    const big = bench.requestFor(Buffer.alloc(9_000_000, 'a'), secretType);
    await t.rejects(differ.apply(big), { code: 'invalid argument' });
    await t.rejects(differ.apply({ ...big, digest: sha256(tar) }), { code: 'data loss' });
  },
);

t.test('a processor that hangs ends with the job that is cancelled', async (t) => {
  const bench = new Bench(t);
  const noted = path.join(bench.dir, 'blob-pid');
  writeFileSync(noted, '');
  const differ = differWith(t, shell(`echo $$ > ${noted}; exec sleep 1000`));
  const abort = new AbortController();
  const applied = differ.apply(bench.requestFor(tar, secretType), { signal: abort.signal });
  const refused = t.rejects(applied, { code: 'cancelled' });
  while (readFileSync(noted, 'utf8') === '') await new Promise((resolve) => setTimeout(resolve, 20));
  const pid = readFileSync(noted, 'utf8').trim();
  t.ok(runs(pid));
  abort.abort();
  await refused;
  while (runs(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
});
