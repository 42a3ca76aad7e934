import t from 'tap';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AT_FDCWD, linux, S_IFCHR } from '@gantry/libc';
import { layerDirectories, readFromLayers } from './layered-root.ts';

const isRoot = process.getuid?.() === 0;

/** Two layers, the first one on top. */
function layers(t: { teardown: (done: () => void) => void }): { upper: string; lower: string } {
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-layers-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const made = { upper: path.join(dir, 'upper'), lower: path.join(dir, 'lower') };
  for (const layer of Object.values(made)) mkdirSync(path.join(layer, 'etc'), { recursive: true });
  return made;
}

const read = ({ upper, lower }: { upper: string; lower: string }, file: string, limit = 1000): string | undefined =>
  readFromLayers(linux, [upper, lower], file, limit);

t.test('mounts of a snapshot are taken apart into their directories, nearest first', (t) => {
  t.same(layerDirectories([{ type: 'bind', source: '/s/1/fs', options: ['ro', 'rbind'] }]), ['/s/1/fs']);
  const overlay = { type: 'overlay', source: 'overlay', options: ['workdir=/w', 'upperdir=/u', 'lowerdir=/a:/b'] };
  t.same(layerDirectories([overlay]), ['/u', '/a', '/b']);
  t.throws(() => layerDirectories([{ type: 'ext4', source: '/dev/dm-0', options: [] }]), {
    code: 'failed precondition',
  });
  t.throws(() => layerDirectories([]), { code: 'failed precondition' });
  t.end();
});

t.test('the nearest layer that has the file answers', (t) => {
  const both = layers(t);
  writeFileSync(path.join(both.lower, 'etc/passwd'), 'lower');
  t.equal(read(both, '/etc/passwd'), 'lower');
  writeFileSync(path.join(both.upper, 'etc/passwd'), 'upper');
  t.equal(read(both, '/etc/passwd'), 'upper');
  t.equal(read(both, '/etc/nothing'), undefined);
  t.equal(read(both, '/etc'), undefined, 'a directory is no file');
  t.end();
});

t.test('symlinks are followed inside the merged tree and never leave it', (t) => {
  const both = layers(t);
  mkdirSync(path.join(both.lower, 'real'));
  writeFileSync(path.join(both.lower, 'real/passwd'), 'through the link');
  symlinkSync('../../../../../real/passwd', path.join(both.upper, 'etc/passwd'));
  t.equal(read(both, '/etc/passwd'), 'through the link', 'parents end at the root');
  symlinkSync('/real/passwd', path.join(both.upper, 'etc/absolute'));
  t.equal(read(both, '/etc/absolute'), 'through the link', 'an absolute target is below the root');
  symlinkSync('/etc/hostname', path.join(both.upper, 'etc/outside'));
  t.equal(read(both, '/etc/outside'), undefined, 'the host has this file, the image has not');
  t.end();
});

t.test('a loop of symlinks is an error, not a hang', (t) => {
  const both = layers(t);
  symlinkSync('b', path.join(both.upper, 'etc/a'));
  symlinkSync('a', path.join(both.upper, 'etc/b'));
  t.throws(() => read(both, '/etc/a'), { code: 'invalid argument' });
  t.end();
});

t.test('a fifo in the place of the file is not waited for, and a huge file is refused', (t) => {
  const both = layers(t);
  linux.mknodat(AT_FDCWD, path.join(both.upper, 'etc/passwd'), 0o010600, 0n);
  writeFileSync(path.join(both.lower, 'etc/passwd'), 'hidden by the fifo');
  t.equal(read(both, '/etc/passwd'), undefined);
  writeFileSync(path.join(both.upper, 'etc/group'), 'x'.repeat(1001));
  t.throws(() => read(both, '/etc/group'), { code: 'resource exhausted' });
  t.end();
});

t.test('whiteouts and opaque directories hide what is below', { skip: !isRoot && 'needs root' }, (t) => {
  const both = layers(t);
  writeFileSync(path.join(both.lower, 'etc/passwd'), 'deleted');
  linux.mknodat(AT_FDCWD, path.join(both.upper, 'etc/passwd'), S_IFCHR, 0n);
  t.equal(read(both, '/etc/passwd'), undefined, 'whiteout');
  writeFileSync(path.join(both.lower, 'etc/group'), 'below');
  t.equal(read(both, '/etc/group'), 'below');
  linux.lsetxattr(path.join(both.upper, 'etc'), 'trusted.overlay.opaque', Buffer.from('y'), 0);
  t.equal(read(both, '/etc/group'), undefined, 'opaque');
  t.end();
});

t.test('no descriptor stays open, whatever happens', (t) => {
  const both = layers(t);
  const open = (): number => linux.readDirectory(fdOf('/proc/self/fd')).length;
  const fdOf = (dir: string): number => linux.openat(AT_FDCWD, dir, 0);
  const before = open();
  read(both, '/etc/passwd');
  symlinkSync('loop', path.join(both.upper, 'etc/loop'));
  t.throws(() => read(both, '/etc/loop'));
  t.equal(open(), before + 1, 'only the descriptor of the counting itself was added');
  t.end();
});
