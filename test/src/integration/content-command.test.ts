/** `gantry content` and `gantry lease` on a daemon: bytes that went bad are found, writers take turns, leases hold as long as they say. */
import t from 'tap';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  gantry,
  gantryd,
  hostState,
  leaks,
  missing,
  removeScratch,
  run,
  scratchDirectory,
  scratchNamespace,
  until,
} from '../index.ts';
import type { CommandResult } from '../index.ts';

const skip = missing('sh') ?? false;

t.setTimeout(120_000);
t.test('content, verified and held', { skip, timeout: 110_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const daemon = gantryd(path.join(dir, 'g'));
  await daemon.start();
  const namespace = scratchNamespace('v');
  const call = async (...words: string[]): Promise<CommandResult> => gantry(daemon, namespace, words);
  const kept = ['--label', 'containerd.io/gc.root=kept'];
  /** Stores bytes through the command's stdin. */
  const ingest = async (bytes: Buffer, ...words: string[]): Promise<string> => {
    const file = path.join(dir, 'blob');
    writeFileSync(file, bytes);
    const bin = path.join(import.meta.dirname, '../../../packages/cli/bin/gantry.js');
    const command = [process.execPath, bin, '-a', daemon.address, '-n', namespace, 'content', 'ingest', ...words];
    const done = await run('sh', ['-c', 'file=$1; shift; exec "$@" < "$file"', 'sh', file, ...command]);
    t.equal(done.code, 0, done.stderr);
    return done.stdout.trim();
  };
  const blobFile = (digest: string): string => path.join(daemon.root, 'content/blobs', digest.replace(':', '/'));

  await t.test(
    'verify names every blob that is not what it was, whatever its algorithm, and changes nothing',
    async (t) => {
      const [flipped, shortened, whole] = [300_000, 2_000_000, 1000].map((size) => randomBytes(size));
      if (flipped === undefined || shortened === undefined || whole === undefined) throw new Error('no bytes');
      const sha512 = `sha512:${createHash('sha512').update(flipped).digest('hex')}`;
      t.equal(await ingest(flipped, 'a', '--expected-digest', sha512, ...kept), sha512);
      const short = await ingest(shortened, 'b', ...kept);
      const good = await ingest(whole, 'c', ...kept);
      t.match(await call('content', 'verify', '-q'), { code: 0, stdout: '' });
      // Not among those that were just read: files stay open for a moment.
      const gone = await ingest(randomBytes(10), 'd', ...kept);
      for (const digest of [sha512, short]) chmodSync(blobFile(digest), 0o644);
      const bytes = readFileSync(blobFile(sha512));
      bytes[123_456] = (bytes[123_456] ?? 0) ^ 1;
      writeFileSync(blobFile(sha512), bytes);
      truncateSync(blobFile(short), 1_999_999);
      unlinkSync(blobFile(gone));
      const verified = await call('content', 'verify', '--format', 'json');
      t.equal(verified.code, 1);
      t.match(verified.stderr, /3 of 4 blobs are not what their digests say/);
      const verdicts = new Map<string, { good: boolean; wrong?: string }>(
        verified.stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line))
          .map((one: { digest: string; good: boolean; wrong?: string }) => [one.digest, one]),
      );
      t.match(verdicts.get(good), { good: true });
      t.match(verdicts.get(sha512), { good: false, wrong: /the bytes have sha512:/ });
      t.match(verdicts.get(short), { good: false, wrong: /1999999|shorter/ });
      t.match(verdicts.get(gone), { good: false });
      t.match(await call('content', 'verify', good), { code: 0, stdout: /ok\n$/ });
      t.match(await call('content', 'get', good, '--offset', '990'), { code: 0 });
      await call('content', 'rm', sha512, short, gone);
      t.match(await call('content', 'verify', '-q'), { code: 0 });
    },
  );

  await t.test('two writers of one ref take turns; a restart in between loses nothing', async (t) => {
    const bytes = randomBytes(500_000);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const both = await Promise.all([ingest(bytes, 'same', ...kept), ingest(bytes, 'same', ...kept)]);
    t.same(both, [digest, digest]);
    t.equal((await call('content', 'active', '-q')).stdout, '');
    await daemon.kill();
    await daemon.start();
    t.match(await call('content', 'verify', digest), { code: 0 });
  });

  await t.test('what only a lease holds goes when the lease is over, by itself or by hand', async (t) => {
    const lease = (await call('lease', 'create', '-x', '1s')).stdout.trim();
    const held = await ingest(randomBytes(1000), 'held', '--lease', lease);
    t.match(await call('lease', 'resources', lease), { stdout: new RegExp(`content +${held}\n`) });
    await until('the lease is over and what it held has gone', async () => {
      await call('content', 'prune');
      return (await call('content', 'info', held)).code !== 0;
    });
    t.notOk((await call('lease', 'ls', '-q')).stdout.includes(lease));
    const other = (await call('lease', 'create', '-x', '0')).stdout.trim();
    const kept = await ingest(randomBytes(1000), 'kept', '--lease', other);
    await call('content', 'prune');
    t.equal((await call('content', 'info', kept)).code, 0);
    t.match(await call('lease', 'rm', '--sync', other), { code: 0 });
    t.match(await call('content', 'info', kept), { code: 125, stderr: /not found/ });
  });

  await daemon.stop();
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
