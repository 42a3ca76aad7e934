/** The disk is full, or turns read-only: whoever asks is told so, everything stored before is intact, and all is well later. */
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import { codeOf, messageOf } from '@gantry/errors';
import { parseDigest } from '@gantry/oci';
import {
  gantryd,
  missing,
  ociArchive,
  removeScratch,
  run,
  scratchDirectory,
  scratchNamespace,
  StoredImages,
  busyboxLayer,
  tar,
  until,
} from '../index.ts';
import type { DaemonProcess, Marker } from '../index.ts';

t.setTimeout(240_000);

/** An image whose second layer has so many random bytes, and the marker. */
function image(name: string, size: number): { readonly name: string; readonly bytes: Buffer; readonly marker: Marker } {
  const full = `docker.io/library/${name}:latest`;
  const body = randomBytes(10_000);
  const layer = tar([
    { name: `large-${name}`, body: randomBytes(size) },
    { name: `marker-${name}`, body },
  ]);
  const marker = { file: `marker-${name}`, sha256: createHash('sha256').update(body).digest('hex') };
  return { name: full, bytes: ociArchive({ layers: [busyboxLayer(), layer], name: full, gzip: false }), marker };
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

/** How a call failed: its class and what it said; `done` when it did not. */
async function failure(promise: Promise<unknown>): Promise<readonly [code: string, text: string]> {
  return promise.then(
    () => ['done', ''] as const,
    (err: unknown) => [codeOf(err), messageOf(err)] as const,
  );
}

/** A gantryd whose root is a file system of its own. */
class OwnDisk {
  readonly dir = scratchDirectory();
  readonly namespace = scratchNamespace('d');
  readonly daemon: DaemonProcess & { root: string; state: string };
  #client: Client | undefined;

  constructor() {
    const config = path.join(this.dir, 'config.toml');
    writeFileSync(config, '[shim]\nspares = 0\n');
    this.daemon = gantryd(this.dir, ['--config', config]);
    mkdirSync(this.daemon.root);
  }

  get client(): Client {
    this.#client ??= connect({ address: this.daemon.address, namespace: this.namespace });
    return this.#client;
  }

  get stored(): StoredImages {
    return new StoredImages(this.client, this.daemon.root);
  }

  async stop(how: 'stop' | 'kill' = 'stop'): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    await this.daemon[how]();
  }

  /** What gantryd had started ends with it, and a moment later. */
  async unmount(): Promise<void> {
    await until(
      'nobody to use the disk any more',
      async () => {
        const { code, stderr } = await run('umount', [this.daemon.root]);
        return code === 0 || /not mounted/.test(stderr);
      },
      60_000,
    );
  }

  async end(): Promise<void> {
    await this.stop('kill');
    await this.unmount();
    removeScratch(this.dir);
  }
}

/** Takes all the room that is left, to the last block. */
function fill(file: string): void {
  const fd = openSync(file, 'w');
  for (let size = 1 << 20; size >= 512;) {
    try {
      writeSync(fd, Buffer.alloc(size));
    } catch {
      size >>= 1;
    }
  }
  closeSync(fd);
}

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

/** Why this machine cannot have a disk that turns read-only while it is used. */
function noDisk(): string | false {
  const absent = missing('mount', 'busybox', 'mke2fs', 'losetup');
  if (absent !== undefined) return absent;
  if (!readFileSync('/proc/filesystems', 'utf8').includes('ext4')) return 'the kernel has no ext4';
  return existsSync('/dev/loop-control') ? false : 'no loop devices';
}

t.test('the disk turns read-only', { skip: noDisk(), timeout: 120_000 }, async (t) => {
  const disk = new OwnDisk();
  const file = path.join(disk.dir, 'disk');
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
    image: () => disk.client.images.import(pieces(image('more', 1000).bytes)),
    removal: () => disk.client.images.remove(small.name, { sync: true }),
  };
  for (const [what, ask] of Object.entries(refusals)) {
    const [code, text] = await failure(ask());
    t.not(code, 'done', what);
    t.match(text, /read-only file system|EROFS|input\/output error/i, what);
  }
  await intact('while it is read-only');

  await disk.stop('kill');
  await disk.unmount();
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
  t.same(await disk.stored.leftOver(), []);
});
