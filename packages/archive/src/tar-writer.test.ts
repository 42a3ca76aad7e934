import t from 'tap';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readTar } from './read-tar.ts';
import { tarEnd, tarHeader, tarPadding } from './tar-writer.ts';
import type { NewEntry } from './tar-writer.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-archive-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

const entries: readonly NewEntry[] = [
  { type: 'directory', name: 'd' },
  { type: 'file', name: 'd/plain', mode: 0o4755, uid: 5, gid: 6, mtimeNs: 1_600_000_000_000_000_000n },
  { type: 'file', name: 'd/fraction', mtimeNs: 1_600_000_000_500_000_000n },
  { type: 'file', name: `d/${'a'.repeat(99)}/${'b'.repeat(90)}` },
  { type: 'file', name: `d/${'c'.repeat(200)}` },
  { type: 'file', name: 'd/ünï' },
  { type: 'file', name: 'd/owner', uid: 3_000_000_000, gid: 2_500_000 },
  { type: 'file', name: 'd/old', mtimeNs: -5_000_000_000n },
  { type: 'file', name: 'd/named', userName: 'root', groupName: 'wheel' },
  { type: 'symlink', name: 'd/link', linkName: 'x'.repeat(150) },
  { type: 'hardlink', name: 'd/hard', linkName: 'd/plain' },
  { type: 'character', name: 'd/null', deviceMajor: 1, deviceMinor: 3 },
  {
    type: 'fifo',
    name: 'd/fifo',
    xattrs: new Map([
      ['user.b', Buffer.from([0, 255])],
      ['user.a', Buffer.from('1')],
    ]),
  },
  { type: 'file', name: Buffer.from([0x64, 0x2f, 0xff, 0xfe]) },
];

const archive = Buffer.concat([...entries.map((entry) => tarHeader(entry)), tarEnd]);

t.test('what is written is what is read', async (t) => {
  let index = 0;
  for await (const { header } of readTar([archive])) {
    const entry = entries[index++];
    const { name = '', linkName = '', xattrs, ...rest } = entry ?? {};
    const written = Buffer.from(name);
    t.ok(
      header.name.equals(entry?.type === 'directory' ? Buffer.concat([written, Buffer.from('/')]) : written),
      `${written}`,
    );
    t.ok(header.linkName.equals(Buffer.from(linkName)));
    t.match(header, rest);
    t.same([...header.xattrs], [...(xattrs ?? [])].sort());
  }
  t.equal(index, entries.length);
});

t.test('the bytes are the same every time, and as pinned', (t) => {
  t.ok(Buffer.concat([...entries.map((entry) => tarHeader(entry)), tarEnd]).equals(archive));
  t.equal(tarHeader({ type: 'file', name: 'd/plain' }).length, 512, 'nothing extended where it is not needed');
  t.equal(tarHeader({ type: 'file', name: `${'a'.repeat(120)}/${'b'.repeat(90)}` }).length, 512, 'ustar has a prefix');
  t.end();
});

t.test('GNU tar agrees', (t) => {
  const file = path.join(scratch, 'a.tar');
  writeFileSync(file, archive);
  const list = execFileSync('tar', ['--numeric-owner', '--full-time', '--quoting-style=literal', '-tvf', file], {
    env: { ...process.env, TZ: 'UTC', LC_ALL: 'C.UTF-8' },
  }).toString('latin1');
  t.match(list, /^drwxr-xr-x 0\/0 .* d\/$/m);
  t.match(list, /^-rwsr-xr-x 5\/6 +0 2020-09-13 12:26:40 +d\/plain$/m);
  t.match(list, /2020-09-13 12:26:40\.5 d\/fraction$/m);
  t.match(list, /^-rw-r--r-- 3000000000\/2500000 .* d\/owner$/m);
  t.match(list, /1969-12-31 23:59:55 +d\/old$/m);
  t.match(list, new RegExp(`d/link -> ${'x'.repeat(150)}$`, 'm'));
  t.match(list, /d\/hard link to d\/plain$/m);
  t.match(list, /^crw-r--r-- 0\/0 +1,3 .* d\/null$/m);
  t.end();
});

t.test('padding fills the last block', (t) => {
  t.same(
    [0n, 1n, 511n, 512n, 513n].map((size) => tarPadding(size).length),
    [0, 511, 1, 0, 511],
  );
  t.end();
});

t.test('names that cannot be written are refused', (t) => {
  t.throws(() => tarHeader({ type: 'file', name: 'a\0b' }), { code: 'invalid argument' });
  t.throws(() => tarHeader({ type: 'file', name: 'a', xattrs: new Map([['a=b', Buffer.alloc(0)]]) }), {
    code: 'invalid argument',
  });
  t.end();
});

t.test('a reader that skips content gets the next entry all the same', async (t) => {
  const content = Buffer.alloc(3000, 'x');
  const long = Buffer.concat([tarHeader({ type: 'file', name: 'a', size: 3000n }), content, tarPadding(3000n)]);
  const pieces = [long, long, tarEnd];
  const lengths: number[] = [];
  for await (const { body } of readTar(pieces)) {
    for await (const bytes of body) {
      lengths.push(bytes.length);
      break;
    }
  }
  t.equal(lengths.length, 2);
});

t.test('an error of the source comes out', async (t) => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield tarHeader({ type: 'file', name: 'a', size: 3000n });
    await Promise.resolve();
    throw new Error('gone');
  }
  const read = async (): Promise<void> => {
    for await (const { body } of readTar(broken())) for await (const bytes of body) void bytes;
  };
  await t.rejects(read(), { message: 'gone' });
});
