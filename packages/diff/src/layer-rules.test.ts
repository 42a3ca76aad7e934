import t from 'tap';
import { execFileSync } from 'node:child_process';
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { linux } from '@gantry/libc';
import { Differ } from './differ.ts';
import type { TestEntry } from './testing/layers.ts';
import { Bench, directory, file, hardlink, insideOverlay, listing, overlay, symlink, tarOf } from './testing/layers.ts';

const rootOnly = { skip: process.getuid?.() === 0 ? false : 'needs root' };
const differ = new Differ({ idleMs: 1000 });
t.teardown(async () => differ.close());

const at = 1_500_000_000_000_000_000n;

/** Applies to the root of a new bench; gives the tree's names. */
async function unpack(
  t: Test,
  entries: readonly TestEntry[],
  prepare: (bench: Bench) => void = () => undefined,
): Promise<Bench> {
  const bench = new Bench(t);
  prepare(bench);
  await differ.apply(bench.request(tarOf(entries)));
  return bench;
}

const names = (dir: string): string[] => readdirSync(dir, { recursive: true }).map(String).sort();

t.test('a layer becomes the same tree that GNU tar makes of it', rootOnly, async (t) => {
  const plain: readonly TestEntry[] = [
    directory('d', { mode: 0o1777, uid: 3, gid: 4, mtimeNs: at }),
    file('d/setuid', 'x', { mode: 0o6755, uid: 1000, gid: 1001, mtimeNs: at }),
    file('d/old', 'y', { mode: 0o400, mtimeNs: 0n }),
    hardlink('d/hard', 'd/setuid'),
    symlink('d/soft', '/etc/passwd'),
    { type: 'character', name: 'd/null', mode: 0o666, deviceMajor: 1, deviceMinor: 3, mtimeNs: at },
    { type: 'block', name: 'd/block', mode: 0o660, gid: 6, deviceMajor: 8, deviceMinor: 300, mtimeNs: at },
    { type: 'fifo', name: 'd/fifo', mode: 0o644, mtimeNs: at },
    directory('d/closed', { mode: 0o000, mtimeNs: at }),
    file('d/closed/inside', 'z', { mtimeNs: at }),
    file(`d/${'long'.repeat(50)}`, 'long', { mtimeNs: at }),
  ];
  // GNU tar leaves a hard link's inode as it is; the link says the same as the file.
  const same = { mode: 0o6755, uid: 1000, gid: 1001, mtimeNs: at };
  const entries = plain.map((entry) => (entry.type === 'hardlink' ? { ...entry, ...same } : entry));
  const bench = await unpack(t, entries);
  const reference = bench.sub('reference');
  writeFileSync(path.join(bench.dir, 'blob-tar'), tarOf(entries));
  execFileSync('tar', ['-xpf', path.join(bench.dir, 'blob-tar'), '-C', reference, '--numeric-owner', '--same-owner']);
  const symlinkTimes = / \d+ \/etc\/passwd$/m;
  t.equal(listing(bench.root).replace(symlinkTimes, ''), listing(reference).replace(symlinkTimes, ''));
  t.match(listing(bench.root), /d\/setuid 106755 1000:1001 2 1500000000/);
});

t.test('holes and long runs of zeros take no room', async (t) => {
  const bench = new Bench(t);
  const source = bench.sub('source');
  const script = `truncate -s 8G holes; echo middle | dd of=holes bs=1M seek=4096 conv=notrunc
    head -c 3000000 /dev/zero > zeros; echo end >> zeros; head -c 200000 /dev/zero >> zeros`;
  execFileSync('sh', ['-euc', script], { cwd: source, stdio: 'ignore' });
  execFileSync('tar', ['--format=posix', '--sparse', '-cf', '../one.tar', 'holes'], { cwd: source });
  execFileSync('tar', ['-cf', '../two.tar', 'zeros'], { cwd: source });
  for (const name of ['one.tar', 'two.tar']) {
    await differ.apply(bench.request(readFileSync(path.join(bench.dir, name))));
  }
  const holes = lstatSync(path.join(bench.root, 'holes'));
  t.equal(holes.size, 8 * 2 ** 30);
  t.ok(holes.blocks < 1000);
  const fd = openSync(path.join(bench.root, 'holes'), 'r');
  const middle = Buffer.alloc(9, '-');
  readSync(fd, middle, 0, 9, 2 ** 32 - 1);
  closeSync(fd);
  t.equal(middle.toString(), '\0middle\n\0');
  t.ok(readFileSync(path.join(bench.root, 'zeros')).equals(readFileSync(path.join(source, 'zeros'))));
  t.ok(lstatSync(path.join(bench.root, 'zeros')).blocks < 1000);
});

t.test('names that are not UTF-8 keep their bytes', async (t) => {
  const name = Buffer.from([0x6e, 0xff, 0xfe]);
  const bench = await unpack(t, [file(name, 'x')]);
  t.ok(readdirSync(bench.root, { encoding: 'buffer' })[0]?.equals(name));
});

t.test('directories that no entry brings are made 0755', rootOnly, async (t) => {
  const bench = await unpack(t, [file('a/b/c', 'x')]);
  t.match(listing(bench.root), /^a 40755 0:0 .*\na\/b 40755 0:0 /);
});

t.test('directories that no entry brings look as in the layer below', rootOnly, async (t) => {
  const bench = new Bench(t);
  const [upper, work, near, far] = ['upper', 'work', 'near', 'far'].map((name) => bench.sub(name));
  await differ.apply(
    bench.request(
      tarOf([
        directory('a', { mode: 0o700, uid: 9, gid: 9, mtimeNs: at }),
        directory('a/b', { mode: 0o1777, uid: 7, gid: 8, mtimeNs: at }),
      ]),
    ),
  );
  execFileSync('cp', ['-a', `${bench.root}/a`, far ?? '']);
  mkdirSync(path.join(near ?? '', 'a'), { mode: 0o711 });
  await differ.apply(
    bench.request(tarOf([file('a/b/f', 'x')]), { mounts: [overlay(upper ?? '', work ?? '', [near ?? '', far ?? ''])] }),
  );
  t.match(listing(upper ?? ''), /^a 40711 0:0 .*\na\/b 41777 7:8 {2}1500000000 /, 'of the nearest that has it');
});

t.test('what is in the way is replaced, and two directories become one', rootOnly, async (t) => {
  const bench = await unpack(
    t,
    [
      directory('kept', { mode: 0o711 }),
      file('kept/new', ''),
      file('was-dir', 'now a file'),
      directory('was-file'),
      symlink('was-link', 'elsewhere'),
      file('link-to-canary', 'a file of its own'),
      file('twice', 'first'),
      file('twice', 'second'),
    ],
    ({ root, canary }) => {
      mkdirSync(path.join(root, 'kept'));
      writeFileSync(path.join(root, 'kept/old'), '');
      mkdirSync(path.join(root, 'was-dir/deep/deeper'), { recursive: true });
      writeFileSync(path.join(root, 'was-file'), '');
      execFileSync('ln', ['-s', canary, path.join(root, 'was-link')]);
      execFileSync('ln', ['-s', path.join(canary, 'file'), path.join(root, 'link-to-canary')]);
    },
  );
  t.same(names(bench.root), [
    'kept',
    'kept/new',
    'kept/old',
    'link-to-canary',
    'twice',
    'was-dir',
    'was-file',
    'was-link',
  ]);
  t.equal(lstatSync(path.join(bench.root, 'kept')).mode & 0o777, 0o711);
  t.equal(readFileSync(path.join(bench.root, 'twice'), 'utf8'), 'second');
  t.equal(readFileSync(path.join(bench.canary, 'file'), 'utf8'), 'canary');
});

t.test('times: directories keep theirs, nanoseconds count, the impossible becomes the epoch', rootOnly, async (t) => {
  const bench = await unpack(t, [
    directory('d', { mtimeNs: at }),
    file('d/f', '', { mtimeNs: at + 123_456_789n, atimeNs: 1n }),
    file('d/later', '', { mtimeNs: at, atimeNs: at + 5_000_000_000n }),
    file('d/before', '', { mtimeNs: -7_000_000_000n }),
  ]);
  const stat = (name: string) => lstatSync(path.join(bench.root, name), { bigint: true });
  t.equal(stat('d').mtimeNs, at);
  t.equal(stat('d/f').mtimeNs, at + 123_456_789n);
  t.equal(stat('d/f').atimeNs, at + 123_456_789n, 'the later of the two is the access time');
  t.equal(stat('d/later').atimeNs, at + 5_000_000_000n);
  t.equal(stat('d/before').mtimeNs, 0n);
});

t.test('extended attributes are kept, those of the host’s own machinery are not', rootOnly, async (t) => {
  const attributes = new Map([
    ['user.a', Buffer.from([0, 1, 255])],
    ['trusted.overlay.opaque', Buffer.from('y')],
    ['trusted.other', Buffer.from('y')],
    ['user.overlay.opaque', Buffer.from('y')],
  ]);
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  const bench = await unpack(t, [
    file('f', 'x', { xattrs: new Map([...attributes, ['security.capability', capability]]) }),
    directory('d', { xattrs: attributes }),
    { type: 'symlink', name: 'l', linkName: 'f', xattrs: attributes },
    { type: 'fifo', name: 'p', xattrs: attributes },
  ]);
  const of = (name: string): string[] => linux.llistxattr(path.join(bench.root, name)).sort();
  t.same(of('f'), ['security.capability', 'user.a']);
  t.ok(capability.equals(linux.lgetxattr(path.join(bench.root, 'f'), 'security.capability') ?? Buffer.alloc(0)));
  t.same([of('d'), of('l'), of('p')], [['user.a'], [], []]);
});

const lowerTree = (dir: string): void => {
  mkdirSync(path.join(dir, 'd/sub'), { recursive: true });
  for (const name of ['gone', 'kept', 'd/a', 'd/b', 'd/sub/c']) writeFileSync(path.join(dir, name), 'lower');
};

/** Whiteouts: what the layer is, and which names are there afterwards. The same in both forms, and in any order. */
const whiteouts: readonly {
  readonly what: string;
  readonly entries: readonly TestEntry[];
  readonly left: readonly string[];
}[] = [
  { what: 'of a file', entries: [file('.wh.gone')], left: ['d', 'd/a', 'd/b', 'd/sub', 'd/sub/c', 'kept'] },
  { what: 'of a directory', entries: [file('.wh.d')], left: ['gone', 'kept'] },
  {
    what: 'inside a directory',
    entries: [directory('d'), file('d/.wh.a')],
    left: ['d', 'd/b', 'd/sub', 'd/sub/c', 'gone', 'kept'],
  },
  {
    what: 'of something that is not there',
    entries: [file('.wh.never')],
    left: ['d', 'd/a', 'd/b', 'd/sub', 'd/sub/c', 'gone', 'kept'],
  },
  {
    what: 'opaque directory',
    entries: [directory('d'), file('d/.wh..wh..opq'), file('d/new')],
    left: ['d', 'd/new', 'gone', 'kept'],
  },
  {
    what: 'opaque mark at the end',
    entries: [directory('d'), file('d/new'), file('d/.wh..wh..opq')],
    left: ['d', 'd/new', 'gone', 'kept'],
  },
  {
    what: 'opaque mark without the directory',
    entries: [file('d/sub/.wh..wh..opq'), file('d/sub/new')],
    left: ['d', 'd/a', 'd/b', 'd/sub', 'd/sub/new', 'gone', 'kept'],
  },
  {
    what: 'opaque root',
    entries: [file('new'), directory('d'), file('d/own'), file('.wh..wh..opq')],
    left: ['d', 'd/own', 'new'],
  },
  {
    what: 'opaque root first',
    entries: [file('.wh..wh..opq'), file('new'), directory('d'), file('d/own')],
    left: ['d', 'd/own', 'new'],
  },
  {
    what: 'of a directory that the layer brings anew',
    entries: [file('.wh.d'), directory('d'), file('d/own')],
    left: ['d', 'd/own', 'gone', 'kept'],
  },
  {
    what: 'the same in the other order',
    entries: [directory('d'), file('d/own'), file('.wh.d')],
    left: ['d', 'd/own', 'gone', 'kept'],
  },
  {
    what: 'of a file that the layer brings anew',
    entries: [file('gone', 'new'), file('.wh.gone')],
    left: ['d', 'd/a', 'd/b', 'd/sub', 'd/sub/c', 'gone', 'kept'],
  },
  {
    what: 'of a directory around what the layer brings',
    entries: [file('d/own'), file('.wh.d')],
    left: ['d', 'd/own', 'gone', 'kept'],
  },
  {
    what: 'AUFS’s own files mean nothing',
    entries: [directory('.wh..wh.plnk'), file('.wh..wh.aufs'), file('new')],
    left: ['d', 'd/a', 'd/b', 'd/sub', 'd/sub/c', 'gone', 'kept', 'new'],
  },
];

for (const { what, entries, left } of whiteouts) {
  t.test(`whiteout ${what}: on a whole tree`, async (t) => {
    const bench = await unpack(t, entries, ({ root }) => lowerTree(root));
    t.same(names(bench.root), left);
  });

  t.test(`whiteout ${what}: on an overlay`, rootOnly, async (t) => {
    const bench = new Bench(t);
    const [upper = '', work = '', lower = '', empty = '', target = ''] = ['u', 'w', 'l', 'e', 't'].map((name) =>
      bench.sub(name),
    );
    lowerTree(lower);
    const mount = overlay(upper, work, [empty, lower]);
    await differ.apply(bench.request(tarOf(entries), { mounts: [mount] }));
    t.same(insideOverlay(mount, target, 'find . -mindepth 1 | cut -c3- | LC_ALL=C sort').trim().split('\n'), left);
  });
}

t.test('a tree that needs mounting is mounted for the worker alone', rootOnly, async (t) => {
  const bench = new Bench(t);
  const [upper = '', work = '', lower = ''] = ['u', 'w', 'l'].map((name) => bench.sub(name));
  lowerTree(lower);
  // Two mounts on top of each other: the second one is what counts.
  const mounts = [{ type: 'tmpfs', source: bench.dir, options: ['nosuid', 'size=1m'] }, overlay(upper, work, [lower])];
  await differ.apply(bench.request(tarOf([file('.wh.gone'), file('new', 'x')]), { mounts }));
  t.same(bench.hostMounts(), []);
  t.same(names(upper), ['gone', 'new']);
  t.ok(lstatSync(path.join(upper, 'gone')).isCharacterDevice(), 'the kernel wrote the whiteout');
});

t.test('syncFs syncs and changes nothing else', async (t) => {
  const bench = new Bench(t);
  const tar = tarOf([file('f', 'x')]);
  t.same(await differ.apply(bench.request(tar, { syncFs: true })), await differ.apply(bench.request(tar)));
});
