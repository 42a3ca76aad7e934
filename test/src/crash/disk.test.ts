/** The disk is full, or turns read-only: whoever asks is told so, everything stored before is intact, and all is well later. */
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { typeUrls } from '@gantry/api';
import type { Client } from '@gantry/client';
import { parseDigest } from '@gantry/oci';
import { missing, run, until } from '../index.ts';
import { failure, fill, image, OwnDisk, pieces } from './own-disk.ts';

t.setTimeout(240_000);

t.test('the disk is full', { skip: missing('mount', 'busybox') ?? false, timeout: 120_000 }, async (t) => {
  const disk = new OwnDisk();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'tmpfs', disk.daemon.root]);
  t.teardown(() => disk.end());
  await disk.daemon.start();
  const small = image('small', 100_000);
  await disk.client.images.import(pieces(small.bytes));
  t.same(await disk.stored.lacks(small.name, small.marker), []);
  const intact = async (when: string): Promise<void> => {
    t.same(await disk.stored.spoiltBlobs(), [], `blobs are whole ${when}`);
    const { digests, chain } = disk.stored.blobsOf((await disk.client.images.get(small.name)).target?.digest ?? '');
    for (const digest of digests) t.equal((await disk.client.content.info(digest)).digest, digest, when);
    for (const id of chain) t.equal((await disk.client.snapshots.stat(id)).name, id, when);
  };

  await t.test('an image does not fit', async (t) => {
    const large = image('large', 130_000_000);
    const [code, text] = await failure(disk.client.images.import(pieces(large.bytes)));
    t.equal(code, 'resource exhausted', text);
    t.match(text, /no space left on device|bytes free/i);
  });
  await t.test('its blobs fit and its files do not', async (t) => {
    const half = image('half', 70_000_000);
    const [code, text] = await failure(disk.client.images.import(pieces(half.bytes)));
    t.equal(code, 'resource exhausted', text);
    t.match(text, /no space left on device|bytes free/i);
  });
  await intact('after images that did not fit');
  await until(
    'what came of them to go',
    async () => (await failure(disk.client.leases.create()))[0] === 'done',
    60_000,
  );
  t.same(await disk.stored.leftOver(), [], 'what came of them goes');

  const filler = path.join(disk.daemon.root, 'filler');
  fill(filler);
  for (const moment of ['to the last byte', 'to the last byte, and gantryd was killed']) {
    await t.test(`full ${moment}`, async (t) => {
      // How much room there is is asked now and then.
      await until('it to be noticed', async () => (await failure(disk.client.leases.create()))[0] !== 'done', 60_000);
      const refusals: Readonly<Record<string, () => Promise<unknown>>> = {
        blob: () => disk.client.content.write([randomBytes(1_000_000)], { ref: 'x' }),
        snapshot: () => disk.client.snapshots.prepare('x', ''),
        lease: () => disk.client.leases.create(),
        image: () => disk.client.images.import(pieces(image('more', 1000).bytes)),
      };
      for (const [what, ask] of Object.entries(refusals)) {
        const [code, text] = await failure(ask());
        t.equal(code, 'resource exhausted', `${what}: ${text}`);
      }
      await intact(moment);
    });
    await disk.stop('kill');
    await disk.daemon.start();
  }

  const copy = 'docker.io/library/copy:latest';
  rmSync(filler);
  await disk.client.images.put(copy, await target(disk.client, small.name));
  fill(filler);
  await disk.client.images.remove(small.name, { sync: true });
  t.same(
    (await disk.client.images.list()).map(({ name }) => name),
    [copy],
    'a full disk can be emptied',
  );
  await disk.client.images.remove(copy, { sync: true });
  rmSync(filler);
  t.same(await disk.stored.leftOver(), []);
  const other = image('other', 1_000_000);
  await disk.client.images.import(pieces(other.bytes));
  t.same(await disk.stored.lacks(other.name, other.marker), [], 'with room all is well');
});

async function target(client: Client, name: string): Promise<Parameters<Client['images']['put']>[1]> {
  const { mediaType = '', digest = '', size = 0n } = (await client.images.get(name)).target ?? {};
  return { mediaType, digest: parseDigest(digest), size: Number(size) };
}

const emptySpec = { typeUrl: typeUrls.spec, value: Buffer.from('{}') };

/** Why this machine cannot have a disk that turns read-only while it is used. */
function noDisk(): string | false {
  const absent = missing('mount', 'busybox', 'mke2fs', 'losetup');
  if (absent !== undefined) return absent;
  if (!readFileSync('/proc/filesystems', 'utf8').includes('ext4')) return 'the kernel has no ext4';
  return existsSync('/dev/loop-control') ? false : 'no loop devices';
}

t.test('the disk turns read-only', { skip: noDisk(), timeout: 120_000 }, async (t) => {
  const disk = new OwnDisk();
  let file = path.join(disk.dir, 'disk');
  execFileSync('truncate', ['-s', '192M', file]);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', file]);
  const attach = (options: string): void => {
    execFileSync('mount', ['-t', 'ext4', '-o', `loop,${options}`, file, disk.daemon.root]);
  };
  attach('errors=remount-ro');
  t.teardown(() => disk.end());
  await disk.daemon.start();
  const small = image('small', 100_000);
  await disk.client.images.import(pieces(small.bytes));
  await disk.client.createContainer({ id: 'before', image: small.name });
  const device = (await run('findmnt', ['-no', 'SOURCE', disk.daemon.root])).stdout.trim();
  const fault = path.join('/sys/fs/ext4', path.basename(device), 'trigger_fs_error');
  if (!existsSync(fault)) {
    return void t.comment('this kernel’s ext4 cannot be told to fail');
  }
  execFileSync('sync', ['-f', disk.daemon.root]);
  writeFileSync(fault, '1');
  t.throws(() => writeFileSync(path.join(disk.daemon.root, 'probe'), ''), { code: 'EROFS' });
  const intact = async (when: string): Promise<void> => {
    t.same(await disk.stored.spoiltBlobs(), [], `blobs are whole ${when}`);
    t.equal((await disk.client.images.get(small.name)).name, small.name, when);
  };

  const refusals: Readonly<Record<string, () => Promise<unknown>>> = {
    blob: () => disk.client.content.write([randomBytes(1_000_000)], { ref: 'x' }),
    snapshot: () => disk.client.snapshots.prepare('x', ''),
    lease: () => disk.client.leases.create(),
    container: () => disk.client.containers.create({ id: 'x', image: '', runtime: { name: 'r' }, spec: emptySpec }),
    'container from an image': () => disk.client.createContainer({ id: 'x', image: small.name }),
    commit: () => disk.client.commit('before', 'new'),
    image: () => disk.client.images.import(pieces(image('more', 1000).bytes)),
    removal: () => disk.client.images.remove(small.name, { sync: true }),
  };
  for (const [what, ask] of Object.entries(refusals)) {
    const [code, text] = await failure(ask());
    t.equal(code, 'failed precondition', what);
    t.match(text, /read-only file system/i, what);
  }
  await intact('while it is read-only');

  await disk.stop('kill');
  await disk.unmount();
  // Somebody who made a mount namespace meanwhile has the disk mounted still, as it is: it goes on as another one.
  const mended = path.join(disk.dir, 'mended');
  execFileSync('cp', ['--sparse=always', file, mended]);
  file = mended;
  // As an operator would; its exit status says that there was something to mend.
  await run('e2fsck', ['-fy', file]);
  attach('ro');
  disk.daemon.launch();
  await disk.daemon.ended();
  t.match(disk.daemon.log(), /read-only file system|EROFS/i, 'a start on it says why it cannot be');

  await disk.unmount();
  attach('errors=remount-ro');
  await disk.daemon.start();
  await intact('afterwards');
  t.same(await disk.stored.lacks(small.name, small.marker), []);
  await disk.client.removeContainer('before');
  t.same(await disk.stored.leftOver(), []);
});
