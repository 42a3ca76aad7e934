/** Layers with everything a tar can hold are unpacked to the same tree as containerd unpacks them to. */
import t from 'tap';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, linux, makedev, S_IFBLK, S_IFCHR, S_IFIFO } from '@gantry/libc';
import { erofsMissingHere, missing, ociArchive, Pair, run, tar } from '../index.ts';
import type { Side } from '../index.ts';

const skip = missing('ctr', 'containerd', 'tar') ?? false;
const name = 'docker.io/library/layers:latest';

/** A tree with every kind of file, packed by GNU tar with extended attributes. */
async function everyKind(dir: string): Promise<Buffer> {
  const tree = path.join(dir, 'tree');
  const at = (file: string): string => path.join(tree, file);
  for (const sub of ['', 'etc', 'keep', 'hidden', 'opaque', 'opaque/below', 'sticky', 'replaced']) mkdirSync(at(sub));
  const file = (where: string, body: string, mode = 0o644): void => {
    writeFileSync(at(where), body);
    chmodSync(at(where), mode);
  };
  file('etc/plain', 'plain');
  file('etc/setuid', 'setuid', 0o4755);
  file('etc/setgid', 'setgid', 0o2750);
  file('keep/a', 'a');
  file('hidden/gone', 'gone');
  file('opaque/old', 'old');
  file('opaque/below/older', 'older');
  file('replaced/inside', 'a directory that becomes a file');
  file('becomes-directory', 'a file that becomes a directory');
  file(`etc/${'long-'.repeat(30)}name`, 'a name longer than a header');
  file('etc/ünï\ncode', 'a name with a newline');
  linkSync(at('etc/plain'), at('keep/hard'));
  symlinkSync('../etc/plain', at('keep/soft'));
  symlinkSync('/nowhere', at('keep/dangling'));
  linux.mknodat(AT_FDCWD, at('keep/null'), S_IFCHR | 0o666, makedev(1, 3));
  linux.mknodat(AT_FDCWD, at('keep/loop'), S_IFBLK | 0o660, makedev(7, 0));
  linux.mknodat(AT_FDCWD, at('keep/fifo'), S_IFIFO | 0o600, 0n);
  linux.lsetxattr(at('etc/plain'), 'user.note', Buffer.from('a note'), 0);
  linux.lsetxattr(at('etc'), 'user.directory', Buffer.from([0, 1, 255]), 0);
  linux.lsetxattr(
    at('keep/a'),
    'security.capability',
    Buffer.from('0100000200040000000000000000000000000000', 'hex'),
    0,
  );
  chownSync(at('keep/a'), 1234, 5678);
  chownSync(at('etc/setuid'), 70_000, 70_000);
  chmodSync(at('etc/setuid'), 0o4755);
  chmodSync(at('sticky'), 0o1777);
  linux.utimensat(AT_FDCWD, at('keep/a'), 1_600_000_000_123_456_789n, 1_600_000_000_123_456_789n, 0);
  linux.utimensat(
    AT_FDCWD,
    at('keep/soft'),
    1_500_000_000_000_000_000n,
    1_500_000_000_000_000_000n,
    AT_SYMLINK_NOFOLLOW,
  );
  linux.utimensat(AT_FDCWD, at('keep'), 1_400_000_000_000_000_000n, 1_400_000_000_000_000_000n, 0);
  const packed = path.join(dir, 'every.tar');
  const words = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '--format=posix', '-C', tree, '-cf', packed, '.'];
  const result = await run('tar', words);
  if (result.code !== 0) throw new Error(result.stderr);
  return readFileSync(packed);
}

/** What a later layer may do to an earlier one. */
const changes = tar([
  { name: 'hidden/.wh.gone' },
  { name: '.wh.becomes-directory' },
  { name: 'becomes-directory/', type: 'directory', mode: 0o700, uid: 5 },
  { name: 'becomes-directory/new', body: 'new' },
  { name: 'opaque/', type: 'directory' },
  { name: 'opaque/.wh..wh..opq' },
  { name: 'opaque/fresh', body: 'fresh' },
  { name: '.wh.replaced' },
  { name: 'etc/plain', body: 'changed', mode: 0o600 },
  { name: 'keep/second', type: 'hardlink', body: 'etc/plain' },
  { name: 'implied/parents/file', body: 'its directories are not in the tar' },
  { name: 'etc/', type: 'directory', mode: 0o711, uid: 3, gid: 4, mtime: 1_000_000_000 },
  { name: 'dot/../dotted', body: 'a name that is cleaned' },
  { name: './keep/./b', body: 'b' },
]);

const last = tar([
  { name: 'replaced', body: 'now a file' },
  { name: 'keep/.wh.null' },
  { name: '.wh.nothing-there' },
  { name: 'keep/soft', type: 'symlink', body: 'elsewhere' },
]);

/**
 * Directories that a layer makes or changes without naming them. containerd's get the time of the unpacking, ours keep
 * the one of the layer below.
 */
const untimed: ReadonlySet<string> = new Set(['', 'implied', 'implied/parents', 'hidden', 'keep']);

interface Seen {
  what: string;
  readonly xattrs: Readonly<Record<string, string>>;
}

/** Everything there is to see of a tree. */
function listing(root: string, below = ''): Record<string, Seen> {
  const full = path.join(root, below);
  const stat = linux.fstatat(AT_FDCWD, full, AT_SYMLINK_NOFOLLOW);
  const type = stat.mode & 0o170000;
  const isDirectory = type === 0o040000;
  const isFile = type === 0o100000;
  const isLink = type === 0o120000;
  const parts = [
    stat.mode.toString(8),
    `${stat.uid}:${stat.gid}`,
    isDirectory ? '' : `links ${stat.nlink} size ${stat.size} rdev ${stat.rdev}`,
    untimed.has(below) ? '' : `mtime ${stat.mtimeNs}`,
    isLink ? linux.readlinkat(AT_FDCWD, full).toString() : '',
    isFile ? createHash('sha256').update(readFileSync(full)).digest('hex') : '',
  ];
  const xattrs = linux
    .llistxattr(full)
    .filter((attribute) => !attribute.startsWith('trusted.overlay'))
    .map((attribute): [string, string] => [attribute, linux.lgetxattr(full, attribute)?.toString('hex') ?? '']);
  const seen: Record<string, Seen> = { [below]: { what: parts.join(' '), xattrs: Object.fromEntries(xattrs) } };
  if (isDirectory) for (const entry of readdirSync(full)) Object.assign(seen, listing(root, path.join(below, entry)));
  return seen;
}

/** containerd's native snapshotter copies directories without their times. */
function forgetDirectoryTimes(tree: Readonly<Record<string, Seen>>): void {
  for (const seen of Object.values(tree)) if (seen.what.startsWith('4')) seen.what = seen.what.replace(/mtime \d+/, '');
}

t.setTimeout(120_000);
t.test('a stack of layers unpacks to the same tree', { skip, timeout: 110_000 }, async (t) => {
  const pair = new Pair();
  await pair.start();
  const archive = path.join(pair.dir, 'layers.tar');
  const layers = [await everyKind(pair.dir), changes, last];
  const mounted = async (side: Side, snapshotter: string): Promise<Record<string, Seen>> =>
    pair.withTree(side, snapshotter, layers, (root) => listing(root));
  let expected: Record<string, Seen> = {};
  for (const gzip of [true, false]) {
    writeFileSync(archive, ociArchive({ layers, gzip, name }));
    for (const snapshotter of ['overlayfs', 'native']) {
      const imported = await pair.both(['images', 'import', '--snapshotter', snapshotter, archive]);
      t.same(imported.ours, imported.stock, `import into ${snapshotter}, ${gzip ? 'gzip' : 'plain'}`);
      const stock = await mounted(pair.stock, snapshotter);
      const ours = await mounted(pair.ours, snapshotter);
      if (snapshotter === 'overlayfs') expected = stock;
      t.ok(Object.keys(stock).length > 25, 'there is something to compare');
      if (snapshotter === 'native') for (const seen of [stock, ours]) forgetDirectoryTimes(seen);
      t.same(ours, stock, `the tree in ${snapshotter}, ${gzip ? 'gzip' : 'plain'}`);
    }
    await pair.both(['images', 'rm', '--sync', name]);
  }
  const reason = await erofsMissingHere();
  if (reason === undefined) {
    const imported = await pair.ctr(pair.ours, ['images', 'import', '--snapshotter', 'erofs', archive]);
    t.equal(imported.code, 0, imported.stderr);
    t.same(await mounted(pair.ours, 'erofs'), expected, 'the tree in erofs, as containerd has it in overlayfs');
    await pair.ctr(pair.ours, ['images', 'rm', '--sync', name]);
  } else t.comment(`without erofs: ${reason}`);
  t.same(await pair.stop(), [], 'nothing is left on the host');
});
