import t from 'tap';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf } from '@gantry/errors';
import { keys, memoryStore } from '@gantry/store';
import type { Store } from '@gantry/store';
import { ContentStore } from './content-store.ts';
import type { WriterOptions } from './content.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-content-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

const sha256 = (bytes: Uint8Array | string): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const hello = Buffer.from('hello world');
const helloDigest = sha256(hello);

interface Place {
  readonly root: string;
  readonly store: Store;
  readonly content: ContentStore;
}

let places = 0;

async function place(leases: readonly string[] = [], shares?: (namespace: string) => boolean): Promise<Place> {
  const root = path.join(scratch, String(++places));
  const store = memoryStore();
  await store.transact((tx) => {
    for (const lease of leases) tx.put(keys.leases('ns', lease), Buffer.from('{}'));
  });
  const content = new ContentStore({ root, store, ...(shares && { shares }) });
  await content.reconcile();
  return { root, store, content };
}

async function put(
  content: ContentStore,
  bytes: Buffer,
  options: Partial<WriterOptions> = {},
  ns = 'ns',
): Promise<string> {
  const writer = await content.openWriter(ns, { ref: 'put', ...options });
  try {
    await writer.write(bytes);
    return (await writer.commit()).digest;
  } finally {
    await writer.close();
  }
}

async function readAll(content: ContentStore, digest: string, options = {}): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of content.read('ns', digest, options)) pieces.push(piece);
  return Buffer.concat(pieces);
}

const code = async (promise: Promise<unknown>): Promise<string> => promise.then(() => 'ok', codeOf);
const held = (store: Store, lease: string): string[] =>
  [...store.scan(keys.leaseResources('ns', lease))].map(({ key }) => key.slice(3).join(' '));

t.test('what was written is a read-only blob under its digest, and nothing is left of the ingest', async (t) => {
  const { content, root, store } = await place();
  const writer = await content.openWriter('ns', { ref: 'r', total: 11n, expected: helloDigest });
  t.match(writer.status(), { ref: 'r', offset: 0n, total: 11n, expected: helloDigest });
  await writer.write(hello.subarray(0, 5));
  await writer.write(hello.subarray(5), 5n);
  t.equal(writer.digest(), helloDigest);
  const info = await writer.commit({ size: 11n, labels: { a: 'b', empty: '' } });
  t.match(info, { digest: helloDigest, size: 11n, labels: { a: 'b' } });
  t.same(info.labels, { a: 'b' });
  t.same(content.info('ns', helloDigest), info);
  const file = content.blobPath('ns', helloDigest);
  t.equal(file, path.join(root, 'blobs/sha256', helloDigest.slice(7)));
  t.equal(statSync(file).mode & 0o777, 0o444);
  t.same(readdirSync(path.join(root, 'ingest')), []);
  t.same([...store.scan(keys.ingests())], []);
  await t.rejects(writer.write(hello), { code: 'unavailable' });
});

t.test('reading honours offset and size', async (t) => {
  const { content } = await place();
  const bytes = randomBytes(2_500_000);
  const digest = await put(content, bytes);
  t.ok(bytes.equals(await readAll(content, digest)));
  t.ok(bytes.subarray(10, 30).equals(await readAll(content, digest, { offset: 10n, size: 20n })));
  t.ok(bytes.subarray(2_400_000).equals(await readAll(content, digest, { offset: 2_400_000n, size: 999_999n })));
  t.ok(bytes.equals(await readAll(content, digest, { offset: -5n, size: -1n })));
  t.equal((await readAll(content, digest, { offset: 2_500_000n })).length, 0);
  t.equal(await code(readAll(content, digest, { offset: 2_500_001n })), 'out of range');
  t.equal(await code(readAll(content, sha256('absent'))), 'not found');
});

t.test('bad digests are invalid arguments before they reach a path', async (t) => {
  const { content } = await place();
  for (const digest of ['sha256:../../x', '', 'sha256:', `sha256:${'A'.repeat(64)}`, `sha256:${'a'.repeat(63)}`, 'x']) {
    t.throws(() => content.info('ns', digest), { code: 'invalid argument' }, digest);
    t.throws(() => content.blobPath('ns', digest), { code: 'invalid argument' }, digest);
    t.equal(await code(content.delete('ns', digest)), 'invalid argument');
    if (digest !== '')
      t.equal(await code(content.openWriter('ns', { ref: 'r', expected: digest })), 'invalid argument');
  }
  t.equal(await code(content.openWriter('ns', { ref: '' })), 'invalid argument');
});

t.test('a ref has one writer; closing lets the next one in, whatever happened', async (t) => {
  const { content } = await place();
  const first = await content.openWriter('ns', { ref: 'r' });
  const refused = content.openWriter('ns', { ref: 'r' });
  await t.rejects(refused, { code: 'unavailable', message: /ref ns\/r locked for/ });
  const other = await content.openWriter('other', { ref: 'r' });
  await other.close();
  await first.write(hello);
  await first.close();
  await first.close();
  const second = await content.openWriter('ns', { ref: 'r' });
  t.equal(second.status().offset, 11n, 'what was written is kept');
  t.equal(second.digest(), helloDigest, 'and hashed again');
  t.equal((await second.commit()).digest, helloDigest);
  const third = await content.openWriter('ns', { ref: 'r' });
  t.equal(third.status().offset, 0n, 'a committed ref starts over');
  await third.close();
});

t.test('a failed opening does not keep the ref', async (t) => {
  const { content } = await place();
  t.equal(await code(content.openWriter('ns', { ref: 'r', lease: 'nope' })), 'not found');
  const writer = await content.openWriter('ns', { ref: 'r' });
  await writer.close();
});

t.test('an ingest goes on after a restart', async (t) => {
  const { content, root, store } = await place();
  const writer = await content.openWriter('ns', { ref: 'r', total: 11n });
  await writer.write(hello.subarray(0, 7));
  // No close: the process died.
  const after = new ContentStore({ root, store });
  const report = await after.reconcile();
  t.same(report.ingestsKept, ['ns/r']);
  t.match(await after.status('ns', 'r'), { ref: 'r', offset: 7n, total: 11n });
  const resumed = await after.openWriter('ns', { ref: 'r', total: 11n });
  t.equal(resumed.status().offset, 7n);
  await resumed.write(hello.subarray(7), 7n);
  t.equal((await resumed.commit({ expected: helloDigest })).size, 11n);
  await writer.close();
});

t.test('another announced total starts over', async (t) => {
  const { content } = await place();
  const first = await content.openWriter('ns', { ref: 'r', total: 11n });
  await first.write(hello);
  await first.close();
  const second = await content.openWriter('ns', { ref: 'r', total: 12n });
  t.match(second.status(), { offset: 0n, total: 12n });
  await second.close();
});

t.test('offsets: 0 starts over, anything but the current one is out of range', async (t) => {
  const { content } = await place();
  const writer = await content.openWriter('ns', { ref: 'r' });
  await writer.write(Buffer.from('garbage'));
  t.equal(await code(writer.write(hello, 3n)), 'out of range');
  t.equal(writer.status().offset, 7n);
  await writer.write(hello, 0n);
  t.equal(writer.status().offset, 11n);
  t.equal(writer.digest(), helloDigest);
  t.equal(await code(writer.truncate(5n)), 'invalid argument');
  await writer.truncate(0n);
  t.equal(writer.digest(), sha256(''));
  await writer.close();
});

t.test('a commit that does not match fails, and the bytes stay for another try', async (t) => {
  const { content } = await place();
  const attempts = [{ size: 12n }, { expected: sha256('other') }];
  for (const options of attempts) {
    const writer = await content.openWriter('ns', { ref: 'r' });
    if (writer.status().offset === 0n) await writer.write(hello);
    await t.rejects(writer.commit(options), {
      code: 'failed precondition',
      message: /unexpected commit|failed size validation/,
    });
    t.equal((await content.status('ns', 'r')).offset, 11n);
  }
  const expecting = await content.openWriter('ns', { ref: 'r', expected: sha256('other') });
  t.equal(await code(expecting.commit()), 'failed precondition', 'the digest announced at opening counts');
  t.notOk(content.has('ns', helloDigest));
});

t.test('sha512 is computed along the way, or at the commit that asks for it', async (t) => {
  const { content } = await place();
  const digest = `sha512:${createHash('sha512').update(hello).digest('hex')}`;
  const writer = await content.openWriter('ns', { ref: 'r', expected: digest });
  await writer.write(hello);
  t.equal((await writer.commit()).digest, digest);
  const late = await content.openWriter('other', { ref: 'r' });
  await late.write(hello);
  t.equal((await late.commit({ expected: digest })).digest, digest);
});

t.test('bytes the namespace has already are already there', async (t) => {
  const { content, root, store } = await place(['l']);
  await put(content, hello);
  t.equal(await code(content.openWriter('ns', { ref: 'r', expected: helloDigest, lease: 'l' })), 'already exists');
  t.same(held(store, 'l'), [`content ${helloDigest}`], 'the lease holds it');
  t.equal(await code(put(content, hello)), 'already exists');
  t.same(readdirSync(path.join(root, 'ingest')), [], 'and the ingest is removed');
  t.equal(await code(content.status('ns', 'put')), 'not found');
});

t.test('a blob of another namespace is taken over without sending it again', async (t) => {
  const { content, root } = await place();
  await put(content, hello, {}, 'first');
  t.equal(content.has('ns', helloDigest), false, 'unseen before');
  const writer = await content.openWriter('ns', { ref: 'r', expected: helloDigest });
  t.match(writer.status(), { offset: 11n, total: 11n });
  t.equal(writer.digest(), helloDigest);
  const removed = await content.removeUnreferencedBlobs();
  t.same(removed, []);
  await writer.commit({ labels: { x: 'y' } });
  t.same(content.info('ns', helloDigest).labels, { x: 'y' });
  t.same(content.info('first', helloDigest).labels, {});
  t.same(readdirSync(path.join(root, 'ingest')), []);
});

t.test('a namespace that does not share keeps its blobs from those who only know the digest', async (t) => {
  const { content } = await place([], (namespace) => namespace === 'open');
  await put(content, hello, {}, 'first');
  const writer = await content.openWriter('ns', { ref: 'r', expected: helloDigest });
  t.equal(writer.status().offset, 0n, 'nothing is there without the bytes');
  t.equal(await code(writer.commit()), 'failed precondition');
  await put(content, hello);
  t.ok(content.has('ns', helloDigest), 'who has the bytes has the blob');
  t.equal(content.blobPath('ns', helloDigest), content.blobPath('first', helloDigest), 'it is stored once');
  await put(content, hello, {}, 'open');
  const third = await content.openWriter('third', { ref: 'r', expected: helloDigest });
  t.equal(third.status().offset, 11n, 'one that shares it is enough');
  await third.close();
});

t.test('a blob of another size than announced is not taken over', async (t) => {
  const { content } = await place();
  await put(content, hello, {}, 'first');
  const writer = await content.openWriter('ns', { ref: 'r', expected: helloDigest, total: 12n });
  t.equal(writer.status().offset, 0n);
  await writer.close();
});

t.test('writing after all to a blob taken over uses a copy', async (t) => {
  const { content } = await place();
  await put(content, hello, {}, 'first');
  const appended = await content.openWriter('ns', { ref: 'a', expected: helloDigest });
  await appended.write(Buffer.from('!'), 11n);
  t.equal(appended.status().offset, 12n);
  t.equal(await code(appended.commit()), 'failed precondition');
  const restarted = await content.openWriter('ns', { ref: 'b', expected: helloDigest });
  await restarted.write(hello, 0n);
  t.equal((await restarted.commit()).digest, helloDigest);
  t.equal(readFileSync(content.blobPath('first', helloDigest), 'utf8'), 'hello world');
});

t.test('a lease holds the ingest, then the blob', async (t) => {
  const { content, store } = await place(['l']);
  const writer = await content.openWriter('ns', { ref: 'r', lease: 'l' });
  t.same(held(store, 'l'), ['ingests r']);
  t.equal(writer.status().expiresAtNs, undefined);
  await writer.write(hello);
  await writer.commit();
  t.same(held(store, 'l'), [`content ${helloDigest}`]);
  await content.delete('ns', helloDigest, 'l');
  t.same(held(store, 'l'), []);
  const free = await content.openWriter('ns', { ref: 'free' });
  t.ok((free.status().expiresAtNs ?? 0n) > BigInt(Date.now()) * 1_000_000n, 'without a lease it expires');
  await free.close();
});

t.test('abort removes the ingest, takes it from the lease and ends its writer', async (t) => {
  const { content, root, store } = await place(['l']);
  const writer = await content.openWriter('ns', { ref: 'r', lease: 'l' });
  await writer.write(hello);
  await content.abort('ns', 'r', 'l');
  t.same(held(store, 'l'), []);
  t.same(readdirSync(path.join(root, 'ingest')), []);
  t.equal(await code(writer.commit()), 'unavailable');
  t.equal(await code(content.abort('ns', 'r')), 'not found');
  t.equal(await code(content.status('ns', 'r')), 'not found');
});

t.test('statuses and infos are listed per namespace', async (t) => {
  const { content } = await place();
  for (const ref of ['b', 'a']) await (await content.openWriter('ns', { ref })).close();
  await (await content.openWriter('other', { ref: 'c' })).close();
  const refs: string[] = [];
  for await (const { ref } of content.statuses('ns')) refs.push(ref);
  t.same(refs, ['a', 'b']);
  const digests = [await put(content, hello), await put(content, Buffer.from('two'))];
  t.same(
    [...content.list('ns')].map(({ digest }) => digest),
    digests.sort(),
  );
  t.same([...content.list('other')], []);
});

t.test('labels are updated by mask', async (t) => {
  const { content } = await place();
  await put(content, hello);
  await content.update('ns', { digest: helloDigest, labels: { a: '1', b: '2' } });
  const info = await content.update('ns', { digest: helloDigest, labels: { b: '' } }, ['labels.b']);
  t.same(info.labels, { a: '1' });
  t.same(content.info('ns', helloDigest), info);
  t.equal(await code(content.update('ns', { digest: helloDigest, labels: {} }, ['size'])), 'invalid argument');
  t.equal(await code(content.update('ns', { digest: sha256('x'), labels: {} })), 'not found');
});

t.test('a blob goes when its last namespace let go of it', async (t) => {
  const { content } = await place();
  await put(content, hello);
  await put(content, hello, {}, 'other');
  const file = content.blobPath('ns', helloDigest);
  await content.delete('ns', helloDigest);
  t.throws(() => content.info('ns', helloDigest), { code: 'not found' });
  t.same(await content.removeUnreferencedBlobs(), []);
  t.ok(existsSync(file));
  await content.delete('other', helloDigest);
  t.same(await content.removeUnreferencedBlobs(), [helloDigest]);
  t.notOk(existsSync(file));
  t.equal(await code(content.delete('ns', helloDigest)), 'not found');
});

t.test('removing unreferenced blobs beside commits never loses one', async (t) => {
  const { content } = await place();
  const digests = new Set<string>();
  const commits = Array.from({ length: 60 }, async (_, index) => {
    const bytes = Buffer.from(`blob ${index % 20}`);
    const digest = await put(content, bytes, { ref: `r${index}` }, `ns${index % 3}`).catch(() => sha256(bytes));
    digests.add(digest);
    if (index % 4 === 0) await content.delete(`ns${index % 3}`, digest).catch(() => undefined);
  });
  const sweeps = Array.from({ length: 20 }, async () => content.removeUnreferencedBlobs());
  await Promise.all([...commits, ...sweeps]);
  for (const namespace of ['ns0', 'ns1', 'ns2']) {
    for (const { digest } of content.list(namespace)) t.ok(existsSync(content.blobPath(namespace, digest)), digest);
  }
});

t.test('reconcile names what is broken and removes what nobody knows', async (t) => {
  const { content, root, store } = await place();
  const [good, short, gone] = [
    await put(content, hello),
    await put(content, Buffer.from('short')),
    await put(content, Buffer.from('gone')),
  ];
  truncateSync(content.blobPath('ns', short), 2);
  rmSync(content.blobPath('ns', gone));
  const stray = sha256('stray');
  writeFileSync(path.join(root, 'blobs/sha256', stray.slice(7)), 'stray');
  writeFileSync(path.join(root, 'blobs/sha256/README'), 'not a blob');
  mkdirSync(path.join(root, 'ingest/unknown'));
  writeFileSync(path.join(root, 'ingest/unknown/data'), 'x');
  await (await content.openWriter('ns', { ref: 'lost' })).close();
  for (const name of readdirSync(path.join(root, 'ingest'))) {
    if (name !== 'unknown') rmSync(path.join(root, 'ingest', name), { recursive: true });
  }
  const after = new ContentStore({ root, store });
  const report = await after.reconcile();
  t.same([...report.broken].sort(), [`ns/${gone}: no file`, `ns/${short}: 2 bytes on disk, 5 recorded`].sort());
  t.same(report.unreferencedBlobs, [stray]);
  t.same([...report.ingestsRemoved].sort(), ['ns/lost: no directory', 'unknown: no record']);
  t.same(readdirSync(path.join(root, 'ingest')), []);
  t.equal(await code(after.status('ns', 'lost')), 'not found');
  t.ok(after.has('ns', good));
  t.same(await after.removeUnreferencedBlobs(), [stray]);
});

t.test('the ingest directory looks as the tools of the field expect', async (t) => {
  const { content, root } = await place();
  const writer = await content.openWriter('ns', { ref: 'some/ref', total: 99n });
  await writer.write(hello);
  const dir = path.join(root, 'ingest', createHash('sha256').update('ns/some/ref').digest('hex'));
  t.same(readdirSync(dir).sort(), ['data', 'ref', 'startedat', 'total', 'updatedat']);
  t.equal(readFileSync(path.join(dir, 'ref'), 'utf8'), 'ns/some/ref');
  t.equal(readFileSync(path.join(dir, 'total'), 'utf8'), '99');
  t.match(readFileSync(path.join(dir, 'startedat'), 'utf8'), /^\d{4}-\d\d-\d\dT/);
  await writer.close();
});

t.test('lent pieces are the blob, and a buffer is used again only once it was released', async (t) => {
  const { content } = await place();
  const bytes = randomBytes(5 * 1024 * 1024 + 17);
  const writer = await content.openWriter('ns', { ref: 'r' });
  await writer.write(bytes);
  const { digest } = await writer.commit();
  const held: { bytes: Buffer; release: () => void }[] = [];
  for await (const piece of content.readLent('ns', digest)) held.push(piece);
  t.ok(Buffer.concat(held.map((piece) => piece.bytes)).equals(bytes), 'none was overwritten while it was lent');
  for (const piece of held) piece.release();
  const again: Buffer[] = [];
  for await (const piece of content.readLent('ns', digest, { offset: 3n })) {
    again.push(Buffer.from(piece.bytes));
    piece.release();
  }
  t.ok(Buffer.concat(again).equals(bytes.subarray(3)));
  const small: Buffer[] = [];
  for await (const piece of content.readLent('ns', digest, { offset: 100n, size: 10n })) small.push(piece.bytes);
  t.ok(Buffer.concat(small).equals(bytes.subarray(100, 110)));
});

t.test('a blob that was removed is not read any more, and a reader under way reads on', async (t) => {
  const { content, root } = await place();
  const bytes = randomBytes(3 * 1024 * 1024);
  const writer = await content.openWriter('ns', { ref: 'r' });
  await writer.write(bytes);
  const { digest } = await writer.commit();
  const reader = content.read('ns', digest);
  const pieces = [Buffer.from((await reader.next()).value ?? [])];
  await content.delete('ns', digest);
  t.equal(await code(content.read('ns', digest).next()), 'not found');
  for await (const piece of reader) pieces.push(Buffer.from(piece));
  t.ok(Buffer.concat(pieces).equals(bytes));
  t.same(await content.removeUnreferencedBlobs(), [digest]);
  t.notOk(existsSync(path.join(root, 'blobs/sha256', digest.slice(7))));
  const second = await content.openWriter('ns', { ref: 'r', expected: digest });
  t.equal(second.status().offset, 0n, 'and does not come back out of an open file');
  await second.close();
});
