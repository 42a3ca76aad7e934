import t from 'tap';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf } from '@gantry/errors';
import { TarParser } from './tar-parser.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-sparse-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

/** A file of the archive: its size, and its bytes with what was a hole in them as `[length]`. */
interface Seen {
  readonly name: string;
  readonly size: bigint;
  readonly pieces: (string | [bigint])[];
}

function parse(archive: Buffer, step = archive.length): Seen[] {
  const seen: Seen[] = [];
  const parser = new TarParser({
    entry: ({ name, size }) => void seen.push({ name: name.toString(), size, pieces: [] }),
    data: (bytes) => {
      const pieces = seen.at(-1)?.pieces ?? [];
      const last = pieces.at(-1);
      const text = Buffer.from(bytes).toString('latin1');
      if (typeof last === 'string') pieces[pieces.length - 1] = last + text;
      else pieces.push(text);
    },
    hole: (length) => void seen.at(-1)?.pieces.push([length]),
    end: () => undefined,
  });
  for (let at = 0; at < archive.length; at += step) parser.write(archive.subarray(at, at + step));
  parser.finish();
  return seen;
}

const formats = [
  { name: 'old GNU', options: ['--format=gnu'] },
  { name: 'PAX 0.0', options: ['--format=posix', '--sparse-version=0.0'] },
  { name: 'PAX 0.1', options: ['--format=posix', '--sparse-version=0.1'] },
  { name: 'PAX 1.0', options: ['--format=posix', '--sparse-version=1.0'] },
];

/** What GNU tar makes of `files` in the scratch directory; a piece is data, a number a hole. */
function packed(options: readonly string[], files: Readonly<Record<string, string>>): Buffer {
  const dir = mkdtempSync(path.join(scratch, 'files-'));
  for (const [name, script] of Object.entries(files)) {
    execFileSync('sh', ['-euc', script], { cwd: dir, env: { ...process.env, F: name }, stdio: 'ignore' });
  }
  const archive = `${dir}.tar`;
  execFileSync('tar', [...options, '--sparse', '-cf', archive, '-C', dir, ...Object.keys(files)]);
  return readFileSync(archive);
}

/** Writes a word of 4096 bytes at each of these offsets. */
const words = (...offsets: number[]): string =>
  offsets
    .map((at) => `head -c 4096 /dev/zero | tr '\\0' w | dd of=$F bs=4096 seek=${at / 4096} conv=notrunc`)
    .join('; ');

const word = 'w'.repeat(4096);
const kib = 1024;

for (const { name, options } of formats) {
  t.test(`files with holes as GNU tar writes them: ${name}`, (t) => {
    const many = Array.from({ length: 60 }, (_, index) => index * 128 * kib);
    const archive = packed(options, {
      middle: words(0, 1024 * kib),
      around: `${words(256 * kib)}; truncate -s 1M $F`,
      empty: 'truncate -s 8G $F',
      many: words(...many),
      plain: 'printf plain > $F',
    });
    t.ok(archive.length < 1024 * kib, 'the holes are not in it');
    const seen = parse(archive);
    t.same(
      seen.map((entry) => [entry.name, entry.size]),
      [
        ['middle', 1_048_576n + 4096n],
        ['around', 1_048_576n],
        ['empty', 8n << 30n],
        ['many', BigInt(59 * 128 * kib + 4096)],
        ['plain', 5n],
      ],
    );
    t.same(seen[0]?.pieces, [word, [1_048_576n - 4096n], word]);
    t.same(seen[1]?.pieces, [[262_144n], word, [1_048_576n - 262_144n - 4096n]]);
    t.same(seen[2]?.pieces, [[8n << 30n]]);
    t.same(
      seen[3]?.pieces,
      many.flatMap((at) => (at === 0 ? [word] : [[BigInt(128 * kib - 4096)], word])),
    );
    t.same(seen[4]?.pieces, ['plain']);
    for (const step of [1, 511, 513, 10_000]) t.same(parse(archive, step), seen, `pieces of ${step}`);
    t.end();
  });
}

function outcome(archive: Buffer): string {
  try {
    return `ok ${parse(archive).length}`;
  } catch (err) {
    return codeOf(err);
  }
}

/** The first header with other bytes, its checksum right again. */
function forged(archive: Buffer, offset: number, bytes: string): Buffer {
  const copy = Buffer.from(archive);
  copy.write(bytes, offset, 'latin1');
  copy.fill(' ', 148, 156);
  const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return copy;
}

const replaced = (archive: Buffer, from: string, to: string): Buffer => {
  t.equal(from.length, to.length);
  t.ok(archive.includes(from), `${JSON.stringify(from)} is in the archive`);
  return Buffer.from(archive.toString('latin1').replace(from, to), 'latin1');
};

t.test('maps that lie are refused', (t) => {
  const files = { f: `${words(256 * kib)}; truncate -s 1M $F` };
  const old = packed(['--format=gnu'], files);
  t.equal(outcome(old), 'ok 1');
  const octal = (value: number): string => `${value.toString(8).padStart(11, '0')}\0`;
  t.equal(outcome(forged(old, 386, octal(2 ** 30))), 'invalid argument', 'beyond the end');
  t.equal(outcome(forged(old, 398, octal(2 * 4096))), 'invalid argument', 'more than there is');
  t.equal(outcome(forged(old, 398, octal(1024))), 'invalid argument', 'less than there is');
  t.equal(outcome(forged(old, 410, octal(4096))), 'invalid argument', 'out of order');
  t.equal(outcome(forged(old, 483, octal(4096))), 'invalid argument', 'a file that is too short');
  t.equal(outcome(forged(old, 482, 'x')), 'invalid argument', 'a map that goes on in the content');
  t.equal(outcome(old.subarray(0, 512)), 'invalid argument', 'cut');
  const records = packed(['--format=posix', '--sparse-version=0.1'], files);
  t.equal(outcome(replaced(records, 'GNU.sparse.map=262144,', 'GNU.sparse.map=x62144,')), 'invalid argument');
  t.equal(outcome(replaced(records, 'GNU.sparse.map=262144,4096,', 'GNU.sparse.map=262144,40960')), 'invalid argument');
  t.equal(outcome(replaced(records, 'GNU.sparse.size=', 'GNU.sparse.sixe=')), 'invalid argument', 'without a size');
  const inside = packed(['--format=posix', '--sparse-version=1.0'], files);
  t.equal(outcome(inside), 'ok 1');
  t.equal(outcome(replaced(inside, '\n262144\n', '\n262x44\n')), 'invalid argument');
  t.equal(outcome(replaced(inside, '2\n262144\n', '9\n262144\n')), 'invalid argument', 'a map that never ends');
  t.equal(outcome(replaced(inside, 'GNU.sparse.major=1', 'GNU.sparse.major=7')), 'invalid argument');
  t.end();
});

t.test('who cannot have holes is told so', (t) => {
  const archive = packed(['--format=posix'], { f: 'truncate -s 1M $F' });
  const parser = new TarParser({ entry: () => undefined, data: () => undefined, end: () => undefined });
  t.throws(() => parser.write(archive), { message: /holes/ });
  t.end();
});
