import t from 'tap';
import { execFileSync } from 'node:child_process';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf } from '@gantry/errors';
import type { EntryHeader } from './entry.ts';
import { readTar } from './read-tar.ts';
import { maximumMetaBytes, TarParser } from './tar-parser.ts';
import { tarEnd, tarHeader, tarPadding } from './tar-writer.ts';
import type { NewEntry } from './tar-writer.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-archive-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

interface Seen {
  readonly header: EntryHeader;
  readonly content: Buffer;
}

/** Parses in pieces of `step` bytes. */
function parse(archive: Buffer, step = archive.length): Seen[] {
  const seen: Seen[] = [];
  let header: EntryHeader | undefined;
  let content: Buffer[] = [];
  const parser = new TarParser({
    entry: (next) => {
      header = next;
      content = [];
    },
    data: (bytes) => void content.push(Buffer.from(bytes)),
    hole: (length) => void content.push(Buffer.alloc(Number(length))),
    end: () => {
      if (header !== undefined) seen.push({ header, content: Buffer.concat(content) });
    },
  });
  for (let at = 0; at < archive.length; at += step) parser.write(archive.subarray(at, at + step));
  parser.finish();
  return seen;
}

function file(entry: NewEntry, content = Buffer.alloc(0)): Buffer {
  const size = BigInt(content.length);
  return Buffer.concat([tarHeader({ ...entry, size }), content, tarPadding(size)]);
}

function outcome(archive: Buffer, step?: number): string {
  try {
    return `ok ${parse(archive, step).length}`;
  } catch (err) {
    return codeOf(err);
  }
}

/** Changes bytes of the first header and makes its checksum right again. */
function forged(archive: Buffer, offset: number, bytes: string | Buffer): Buffer {
  const copy = Buffer.from(archive);
  Buffer.from(bytes).copy(copy, offset);
  copy.fill(' ', 148, 156);
  const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return copy;
}

const paxRecord = (keyword: string, value: string): string => {
  const rest = ` ${keyword}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + 2;
  while (String(length).length + bytes !== length) length += 1;
  return `${length}${rest}`;
};
const pax = (...records: string[]): Buffer =>
  forged(file({ type: 'file', name: 'pax' }, Buffer.from(records.join(''))), 156, 'x');

t.test('what GNU tar writes in each of its formats is read', async (t) => {
  const script = `
    mkdir -p in/d/e && cd in && printf content > d/file && ln d/file hard && ln -s d/file soft && mkfifo p && mknod n c 1 3 || true
    long=$(printf 'n%.0s' $(seq 180)); mkdir -p "d/$long" && printf long > "d/$long/$(printf 'm%.0s' $(seq 120))"
    chmod 4711 d/file; touch -d '@1000000000.123456789' d/file; head -c 70000 /dev/zero > big`;
  execFileSync('sh', ['-c', script], { cwd: scratch, stdio: 'ignore' });
  const expected = execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P %y %s\\n'], {
    cwd: path.join(scratch, 'in'),
  });
  const names = expected
    .toString()
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[0])
    .sort();
  for (const format of ['gnu', 'posix']) {
    const archive = path.join(scratch, `${format}.tar`);
    execFileSync('tar', [`--format=${format}`, '-cf', archive, '-C', path.join(scratch, 'in'), '.']);
    const seen = new Map<string, EntryHeader>();
    for await (const { header, body } of readTar(createReadStream(archive, { highWaterMark: 700 }))) {
      let length = 0;
      for await (const bytes of body) length += bytes.length;
      t.equal(BigInt(length), header.size, header.name.toString());
      seen.set(path.normalize(header.name.toString()).replace(/\/$/, ''), header);
    }
    t.same([...seen.keys()].filter((name) => name !== '.').sort(), names, format);
    const links = [seen.get('hard'), seen.get('d/file')].map((header) => header?.type).sort();
    t.same(links, ['file', 'hardlink']);
    t.equal(seen.get('soft')?.linkName.toString(), 'd/file');
    t.equal(seen.get('d/file')?.mode, 0o4711);
    t.equal((seen.get('d/file')?.mtimeNs ?? 0n) / 1_000_000_000n, 1_000_000_000n);
    if (format === 'posix') t.equal(seen.get('d/file')?.mtimeNs, 1_000_000_000_123_456_789n);
    t.equal(seen.get('p')?.type, 'fifo');
  }
});

t.test('it does not matter in which pieces the bytes come', (t) => {
  const archive = Buffer.concat([
    file({ type: 'directory', name: 'd', mode: 0o700 }),
    file({ type: 'file', name: `d/${'x'.repeat(300)}`, mtimeNs: 1_500_000_000n }, Buffer.alloc(1300, 'abc')),
    file({ type: 'symlink', name: 'l', linkName: '/etc' }),
    tarEnd,
    Buffer.alloc(7000, 'what follows the end is nobody’s business'),
  ]);
  const whole = parse(archive);
  t.equal(whole.length, 3);
  for (const step of [1, 7, 511, 512, 513, 4096]) t.same(parse(archive, step), whole, `pieces of ${step}`);
  t.end();
});

t.test('an archive may end without its end mark, but not inside of anything', (t) => {
  const archive = Buffer.concat([file({ type: 'file', name: 'a' }, Buffer.alloc(600, 1)), tarEnd]);
  t.equal(outcome(archive), 'ok 1');
  t.equal(outcome(archive.subarray(0, 512 + 1024)), 'ok 1', 'at the end of an entry');
  for (const length of [512 + 600, 512 + 1023]) {
    t.equal(outcome(archive.subarray(0, length)), 'ok 1', `${length} bytes: the content is complete`);
  }
  for (const length of [1, 511, 512, 700, 512 + 599, archive.length - 1]) {
    t.equal(outcome(archive.subarray(0, length)), 'invalid argument', `${length} bytes`);
  }
  t.equal(outcome(Buffer.alloc(0)), 'ok 0');
  t.equal(outcome(pax(paxRecord('path', 'x'))), 'invalid argument', 'after an extended header');
  t.equal(outcome(Buffer.concat([pax(paxRecord('path', 'x')), tarEnd])), 'invalid argument');
  t.equal(outcome(Buffer.concat([Buffer.alloc(512), file({ type: 'file', name: 'a' })])), 'invalid argument');
  t.end();
});

t.test('a header with a wrong checksum or a malformed field is refused', (t) => {
  const archive = Buffer.concat([file({ type: 'file', name: 'a' }), tarEnd]);
  const flipped = Buffer.from(archive);
  flipped[0] = 0x62;
  t.equal(outcome(flipped), 'invalid argument');
  t.equal(outcome(forged(archive, 124, '00000000009\0')), 'invalid argument', 'not octal');
  t.equal(outcome(forged(archive, 124, Buffer.alloc(12, 0xff))), 'invalid argument', 'negative size in base 256');
  t.equal(outcome(forged(archive, 108, Buffer.alloc(8, 0xff))), 'invalid argument', 'negative owner');
  for (const flag of ['V', 'M', 'D', 'X', 'A', ' '])
    t.equal(outcome(forged(archive, 156, flag)), 'invalid argument', flag);
  t.end();
});

t.test('numbers in base 256 are read', (t) => {
  const size = Buffer.alloc(12);
  size[0] = 0x80;
  size.writeUInt32BE(5, 8);
  const archive = Buffer.concat([file({ type: 'file', name: 'a' }, Buffer.from('12345')), tarEnd]);
  const [entry] = parse(forged(archive, 124, size));
  t.equal(entry?.content.toString(), '12345');
  const before = Buffer.alloc(12, 0xff);
  t.equal(parse(forged(archive, 136, before))[0]?.header.mtimeNs, -1_000_000_000n, 'times may be negative');
  const huge = Buffer.alloc(12, 0);
  huge[0] = 0x80;
  huge[4] = 0x7f;
  t.equal(outcome(forged(archive, 124, huge)), 'invalid argument', 'a huge claim is a truncated archive');
  t.end();
});

t.test('PAX records override the header', (t) => {
  const records = [
    paxRecord('path', 'näme'),
    paxRecord('linkpath', 'x'.repeat(200)),
    paxRecord('uid', '4000000000'),
    paxRecord('gid', '70000'),
    paxRecord('size', '5'),
    paxRecord('mtime', '-1.5'),
    paxRecord('atime', '3.000000001999'),
    paxRecord('SCHILY.xattr.user.a', 'v=\n'),
    paxRecord('VENDOR.unknown', 'ignored'),
    paxRecord('uname', ''),
  ];
  const plain = file({ type: 'file', name: 'short', userName: 'kept' }, Buffer.from('12345'));
  const [entry] = parse(Buffer.concat([pax(...records), plain, tarEnd]));
  t.match(entry?.header, {
    uid: 4_000_000_000,
    gid: 70_000,
    size: 5n,
    mtimeNs: -1_500_000_000n,
    atimeNs: 3_000_000_001n,
  });
  t.equal(entry?.header.userName, 'kept', 'an empty value leaves the header’s');
  t.equal(entry?.header.xattrs.get('user.a')?.toString(), 'v=\n');
  t.equal(entry?.content.toString(), '12345');
  const next = parse(
    Buffer.concat([pax(paxRecord('path', 'a')), file({ type: 'file', name: 'x' }), file({ type: 'file', name: 'y' })]),
  );
  t.same(
    next.map(({ header }) => header.name.toString()),
    ['a', 'y'],
    'for one entry only',
  );
  t.end();
});

t.test('a size in a PAX record is the size, whatever the header says', (t) => {
  const inner = file({ type: 'file', name: 'smuggled' });
  const outer = Buffer.concat([tarHeader({ type: 'file', name: 'outer', size: 0n }), inner]);
  const archive = Buffer.concat([pax(paxRecord('size', String(inner.length))), outer, tarEnd]);
  t.same(
    parse(archive).map(({ header }) => header.name.toString()),
    ['outer'],
  );
  t.end();
});

t.test('malformed PAX records are refused', (t) => {
  const plain = Buffer.concat([file({ type: 'file', name: 'x' }), tarEnd]);
  const wrong = [
    'x',
    '5 a=b\n',
    '99 path=x\n',
    '06 a=b\n',
    '6 a=bX',
    '4 =\n',
    '6 ab\nx',
    paxRecord('size', '-1'),
    paxRecord('size', '0x10'),
    paxRecord('mtime', '1e5'),
    paxRecord('uid', '4294967296'),
    paxRecord('path', 'a\0b'),
    paxRecord('size', '9'.repeat(30)),
  ];
  for (const record of wrong)
    t.equal(outcome(Buffer.concat([pax(record), plain])), 'invalid argument', JSON.stringify(record));
  t.end();
});

t.test('global headers are read over', (t) => {
  const global = forged(pax(paxRecord('path', 'everything')), 156, 'g');
  t.equal(parse(Buffer.concat([global, file({ type: 'file', name: 'x' }), tarEnd]))[0]?.header.name.toString(), 'x');
  t.end();
});

t.test('extended headers are limited', (t) => {
  const header = forged(tarHeader({ type: 'file', name: 'p', size: BigInt(maximumMetaBytes + 1) }), 156, 'x');
  t.equal(outcome(Buffer.concat([header, Buffer.alloc(4096)])), 'invalid argument');
  const longName = forged(tarHeader({ type: 'file', name: 'p', size: 1n << 32n }), 156, 'L');
  t.equal(outcome(longName), 'invalid argument');
  t.end();
});

t.test('old directories are files whose name ends in a slash', (t) => {
  const archive = Buffer.concat([forged(file({ type: 'file', name: 'd/' }), 156, '\0'), tarEnd]);
  t.equal(parse(archive)[0]?.header.type, 'directory');
  const both = file({ type: 'file', name: 'd/' }, Buffer.alloc(512));
  t.equal(outcome(both), 'invalid argument', 'never with content');
  t.end();
});

t.test('only files have content', (t) => {
  const link = forged(tarHeader({ type: 'symlink', name: 'l', linkName: 'x' }), 124, '00000001000\0');
  t.same(
    parse(Buffer.concat([link, file({ type: 'file', name: 'next' }), tarEnd])).map(({ header }) => header.size),
    [0n, 0n],
  );
  t.end();
});

/** A small generator of repeatable noise (xorshift32). */
function noise(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

t.test('three thousand mutations end in entries or in an error of the field, and quickly', (t) => {
  const source = Buffer.concat([
    file({ type: 'directory', name: 'd' }),
    file({ type: 'file', name: 'd/f', xattrs: new Map([['user.x', Buffer.from('y')]]) }, Buffer.alloc(900, 'z')),
    file({ type: 'hardlink', name: 'h', linkName: 'd/f' }),
    file({ type: 'file', name: 'n'.repeat(300) }, Buffer.from('long')),
    tarEnd,
  ]);
  const started = performance.now();
  const outcomes = new Map<string, number>();
  for (let seed = 1; seed <= 3000; seed++) {
    const next = noise(seed * 2_654_435_761);
    const mutant = Buffer.from(source.subarray(0, next() % 8 === 0 ? next() % source.length : source.length));
    for (let change = next() % 12; change > 0 && mutant.length > 0; change--) {
      const at = next() % mutant.length;
      if (next() % 3 === 0) mutant.copy(mutant, at, next() % mutant.length, mutant.length);
      else mutant[at] = next() % 256;
    }
    // Half of them with a valid first checksum, so that the fields are reached.
    const archive = seed % 2 === 0 && mutant.length >= 512 ? forged(mutant, 0, Buffer.alloc(0)) : mutant;
    const result = outcome(archive, 1 + (next() % 2000)).replace(/\d+/, 'n');
    outcomes.set(result, (outcomes.get(result) ?? 0) + 1);
  }
  t.same(
    [...outcomes.keys()].filter((each) => !['ok n', 'invalid argument', 'not implemented'].includes(each)),
    [],
  );
  t.ok((outcomes.get('ok n') ?? 0) > 50 && (outcomes.get('invalid argument') ?? 0) > 50, JSON.stringify([...outcomes]));
  t.ok(performance.now() - started < 20_000);
  t.end();
});
