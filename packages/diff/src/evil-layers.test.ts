/** Layers that attack: each entry of the corpus is one attack; nothing outside the root may change, whatever happens. */
import t from 'tap';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { codeOf } from '@gantry/errors';
import { tarHeader } from '@gantry/archive';
import { Differ } from './differ.ts';
import type { TestEntry } from './testing/layers.ts';
import { Bench, directory, file, hardlink, overlay, symlink, tarOf } from './testing/layers.ts';

const differ = new Differ({ idleMs: 1000 });
t.teardown(async () => differ.close());

interface Attack {
  readonly what: string;
  /** Built with the canary's path, absolute and relative to the root. */
  readonly entries: (canary: string) => readonly TestEntry[];
  /** `ok`, or the error's class. */
  readonly outcome: string;
  /** Names that must be in the root afterwards. */
  readonly inside?: readonly string[];
}

const up = '../../../../../../../..';
const mtimeNs = 1_500_000_000_000_000_000n;

const attacks: readonly Attack[] = [
  { what: 'an absolute name', entries: (c) => [file(`${c}/file`, 'evil')], outcome: 'ok' },
  { what: 'a name that climbs', entries: (c) => [file(`${up}${c}/file`, 'evil')], outcome: 'ok' },
  {
    what: 'a name that climbs in the middle',
    entries: () => [file('a/../../canary/file', 'evil')],
    outcome: 'ok',
    inside: ['canary'],
  },
  {
    what: 'only dots',
    entries: () => [directory('..'), directory('.'), directory('./..//.'), file('..', 'x'), directory('/')],
    outcome: 'ok',
  },
  {
    what: 'an absolute link as a parent',
    entries: (c) => [symlink('l', c), file('l/file', 'evil'), file('l/new', 'evil')],
    outcome: 'ok',
  },
  {
    what: 'a climbing link as a parent',
    entries: () => [symlink('l', `${up}/canary`), symlink('m', '../canary'), file('m/file', 'evil')],
    outcome: 'ok',
  },
  {
    what: 'a chain of links',
    entries: (c) => [
      symlink('a', 'b/c'),
      symlink('b', '..'),
      symlink('c', c),
      file('a/file', 'evil'),
      file('b/../c/file', 'evil'),
    ],
    outcome: 'ok',
  },
  {
    what: 'a link to the root itself',
    entries: (c) => [symlink('r', '/'), file(`r${c}/file`, 'evil'), file('r/r/r/x', 'x')],
    outcome: 'ok',
    inside: ['x'],
  },
  {
    what: 'a link through /proc',
    entries: () => [
      symlink('p', '/proc/self/root'),
      file('p/evil', 'x'),
      symlink('cwd', '/proc/self/cwd'),
      file('cwd/evil', 'x'),
    ],
    outcome: 'ok',
    inside: ['proc'],
  },
  {
    what: 'a loop of links',
    entries: () => [symlink('a', 'b'), symlink('b', 'a'), file('a/x', 'x')],
    outcome: 'invalid argument',
  },
  {
    what: 'a link that leads to itself by a longer way',
    entries: () => [symlink('a', 'a/b'), file('a/x', 'x')],
    outcome: 'invalid argument',
  },
  { what: 'a file as a parent', entries: () => [file('f', 'x'), file('f/below', 'x')], outcome: 'invalid argument' },
  {
    what: 'a directory over a link to outside',
    entries: (c) => [symlink('d', c), directory('d', { mode: 0o777, uid: 1, gid: 1 }), file('d/file', 'evil')],
    outcome: 'ok',
    inside: ['d'],
  },
  {
    what: 'a mode through a link (CVE-2021-32760)',
    entries: (c) => [symlink('l', `${c}/file`), { type: 'hardlink', name: 'h', linkName: 'l', mode: 0o777 }],
    outcome: 'ok',
  },
  {
    what: 'a file written through a link',
    entries: (c) => [symlink('f', `${c}/file`), file('f', 'evil', { mode: 0o666 })],
    outcome: 'ok',
    inside: ['f'],
  },
  {
    what: 'owner and time through a link',
    entries: (c) => [{ type: 'symlink', name: 'l', linkName: `${c}/file`, uid: 99, gid: 99, mtimeNs }],
    outcome: 'ok',
  },
  {
    what: 'a hard link to outside by an absolute name',
    entries: (c) => [hardlink('h', `${c}/file`)],
    outcome: 'invalid argument',
  },
  { what: 'a hard link that climbs', entries: () => [hardlink('h', '../canary/file')], outcome: 'invalid argument' },
  {
    what: 'a hard link through a link',
    entries: (c) => [symlink('l', c), hardlink('h', 'l/file')],
    outcome: 'invalid argument',
  },
  {
    what: 'a hard link over a link, then written',
    entries: (c) => [symlink('l', `${c}/file`), hardlink('h', 'l'), file('h', 'evil')],
    outcome: 'ok',
    inside: ['h'],
  },
  {
    what: 'a hard link to a directory',
    entries: () => [directory('d'), hardlink('h', 'd')],
    outcome: 'invalid argument',
  },
  { what: 'a hard link to the root', entries: () => [hardlink('h', '/')], outcome: 'invalid argument' },
  { what: 'a hard link to itself', entries: () => [hardlink('h', 'h')], outcome: 'invalid argument' },
  { what: 'a hard link to nothing', entries: () => [hardlink('h', 'never')], outcome: 'invalid argument' },
  { what: 'a link to nothing', entries: () => [symlink('l', '')], outcome: 'invalid argument' },
  { what: 'a whiteout of nothing', entries: () => [file('.wh.')], outcome: 'invalid argument' },
  {
    what: 'a whiteout of the directory itself',
    entries: () => [directory('d'), file('d/.wh..')],
    outcome: 'invalid argument',
  },
  { what: 'a whiteout of the parent', entries: () => [directory('d'), file('d/.wh...')], outcome: 'invalid argument' },
  { what: 'a whiteout of the parent at the root', entries: () => [file('.wh...')], outcome: 'invalid argument' },
  { what: 'a whiteout through a link', entries: (c) => [symlink('l', c), file('l/.wh.file')], outcome: 'ok' },
  { what: 'an opaque mark through a link', entries: (c) => [symlink('l', c), file('l/.wh..wh..opq')], outcome: 'ok' },
  {
    what: 'a whiteout of a link to outside',
    entries: (c) => [file('.wh.l'), symlink('l', c), file('.wh.l')],
    outcome: 'ok',
  },
  {
    what: 'a directory replaced by a link half-way',
    entries: (c) => [directory('d'), file('d/a', 'x'), symlink('d', c), file('d/file', 'evil'), file('d/b', 'evil')],
    outcome: 'ok',
  },
  {
    what: 'a device',
    entries: () => [{ type: 'block', name: 'sda', mode: 0o666, deviceMajor: 8, deviceMinor: 0 }, file('sda', 'evil')],
    outcome: 'ok',
    inside: ['sda'],
  },
  {
    what: 'a fifo in the way of a file',
    entries: () => [{ type: 'fifo', name: 'p' }, file('p', 'does not hang')],
    outcome: 'ok',
    inside: ['p'],
  },
  {
    what: 'an owner that means "leave it"',
    entries: () => [file('f', 'x', { uid: 0xffff_ffff })],
    outcome: 'invalid argument',
  },
  {
    what: 'a name too long for the file system',
    entries: () => [file('x'.repeat(256), 'x')],
    outcome: 'invalid argument',
  },
  {
    what: 'a path too long for the kernel',
    entries: () => [file('d/'.repeat(3000), 'x')],
    outcome: 'invalid argument',
  },
  { what: 'deep directories', entries: () => [file(`${'d/'.repeat(1000)}f`, 'x'), file('.wh.d')], outcome: 'ok' },
  {
    what: 'the same name a thousand times',
    entries: () => Array.from({ length: 1000 }, (_, n) => (n % 2 === 0 ? file('n', 'x') : directory('n'))),
    outcome: 'ok',
    inside: ['n'],
  },
];

const rootOnly = { skip: process.getuid?.() === 0 ? false : 'needs root' };

for (const { what, entries, outcome, inside = [] } of attacks) {
  t.test(`nothing outside changes: ${what}`, rootOnly, async (t) => {
    for (const form of ['tree', 'overlay'] as const) {
      const bench = new Bench(t);
      const [work = '', lower = ''] = ['w', 'l'].map((name) => bench.sub(name));
      const before = bench.outside();
      const tar = tarOf(entries(bench.canary));
      const mounts = form === 'tree' ? {} : { mounts: [overlay(bench.root, work, [lower])] };
      const result = await differ.apply(bench.request(tar, mounts)).then(
        () => 'ok',
        (err: unknown) => `${codeOf(err)}: ${String(err)}`,
      );
      t.ok(result.startsWith(outcome), `${form}: ${result.slice(0, 200)}`);
      t.equal(bench.outside(), before, `${form}: the canary is as it was`);
      const found = readdirSync(bench.root);
      for (const name of inside) t.ok(found.includes(name), `${form}: ${name} is inside`);
      t.notOk(found.includes('evil'));
    }
  });
}

t.test('a huge size that is not there is a truncated layer, and costs nothing', async (t) => {
  const bench = new Bench(t);
  const claim = tarHeader({ type: 'file', name: 'huge', size: 8n * 1024n ** 4n });
  await t.rejects(differ.apply(bench.request(Buffer.concat([claim, Buffer.alloc(4096)]))), {
    code: 'invalid argument',
    message: /truncated/,
  });
});

t.test('errors name the entry', async (t) => {
  const bench = new Bench(t);
  const applied = differ.apply(bench.request(tarOf([directory('some'), hardlink('some/link', 'never')])));
  await t.rejects(applied, { message: /tar entry "some\/link": hard link to "never"/ });
});

t.test('a racer that swaps directories for links meanwhile gains nothing', rootOnly, async (t) => {
  const bench = new Bench(t);
  const before = bench.outside();
  const swap = `
    cd "$1"; n=0
    while [ $n -lt 3000 ]; do mv -T d e 2>/dev/null; ln -s "$2" d 2>/dev/null; rm -f d; mv -T e d 2>/dev/null; n=$((n+1)); done`;
  const entries = Array.from({ length: 3000 }, (_, n) => [
    file(`d/f${n % 7}`, 'evil'),
    file(`d/s${n % 5}/x`, 'evil'),
    directory('other'),
  ]).flat();
  const request = bench.request(tarOf(entries));
  const racer = spawn('sh', ['-c', swap, 'sh', bench.root, bench.canary], { stdio: 'ignore', detached: true });
  await differ.apply(request).catch(() => undefined);
  const ended = once(racer, 'exit');
  if (racer.pid !== undefined) process.kill(-racer.pid, 'SIGKILL');
  await ended; // else it makes directories while the bench is removed
  t.equal(bench.outside(), before);
});

t.test('a full disk is resource exhausted and names the entry', rootOnly, async (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-full-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const bench = new Bench(t);
  // The mount is the worker's own: a small file system to fill.
  const mounts = [{ type: 'tmpfs', source: bench.dir, options: ['size=64k'] }];
  const applied = differ.apply(bench.request(tarOf([file('big', 'x'.repeat(200_000))]), { mounts }));
  await t.rejects(applied, { code: 'resource exhausted', message: /tar entry "big"/ });
  t.same(bench.hostMounts(), []);
  t.same(execFileSync('ls', [dir]).toString(), '');
});
