import t from 'tap';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AT_FDCWD, linux, O_DIRECTORY, O_PATH } from '@gantry/libc';
import { makeTarget, normalDestination, openInRoot, openWithoutLinks } from './resolve.ts';

function tree(t: { teardown(done: () => void): void }): { root: number; dir: string; outside: string } {
  const top = mkdtempSync(join(tmpdir(), 'gantry-resolve-'));
  const dir = join(top, 'root');
  const outside = join(top, 'outside');
  mkdirSync(dir);
  mkdirSync(outside);
  const root = linux.openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY);
  t.teardown(() => {
    linux.close(root);
    rmSync(top, { recursive: true });
  });
  return { root, dir, outside };
}

t.test('a destination is normal and absolute whatever it was', (t) => {
  t.equal(normalDestination('a/./b/../c'), '/a/c');
  t.equal(normalDestination('/../../x'), '/x');
  t.equal(normalDestination(''), '/');
  t.end();
});

t.test('missing directories and files are made inside the root', (t) => {
  const { root, dir } = tree(t);
  linux.close(makeTarget(linux, root, '/a/b/c', 'directory'));
  linux.close(makeTarget(linux, root, '/a/f/file', 'file'));
  linux.close(makeTarget(linux, root, '/a/f/file', 'file'));
  t.ok(existsSync(join(dir, 'a/b/c')));
  t.ok(existsSync(join(dir, 'a/f/file')));
  t.end();
});

t.test('links that lead out, up, or to nothing are followed inside the root', (t) => {
  const { root, dir, outside } = tree(t);
  symlinkSync(outside, join(dir, 'absolute'));
  symlinkSync('../../../../../../escape', join(dir, 'up'));
  symlinkSync('gone/deep', join(dir, 'dangling'));
  symlinkSync('/also/gone', join(dir, 'dangling-file'));
  for (const path of ['/absolute/x', '/up/x', '/dangling/x']) linux.close(makeTarget(linux, root, path, 'directory'));
  linux.close(makeTarget(linux, root, '/dangling-file', 'file'));
  t.same(readdirSync(outside), []);
  for (const path of [outside.slice(1) + '/x', 'escape/x', 'gone/deep/x', 'also/gone'])
    t.ok(existsSync(join(dir, path)), path);
  t.end();
});

t.test('a link to itself and a magic link are refused', (t) => {
  const { root, dir } = tree(t);
  symlinkSync('loop', join(dir, 'loop'));
  t.throws(() => makeTarget(linux, root, '/loop/x', 'directory'), /ELOOP|too many/);
  mkdirSync(join(dir, 'plain'));
  symlinkSync('plain', join(dir, 'link'));
  t.throws(() => openWithoutLinks(linux, root, '/link'), /ELOOP/);
  linux.close(openWithoutLinks(linux, root, '/plain'));
  t.end();
});

t.test('a file where a directory must be is an error', (t) => {
  const { root, dir } = tree(t);
  writeFileSync(join(dir, 'file'), '');
  t.throws(() => makeTarget(linux, root, '/file', 'directory'), /ENOTDIR/);
  t.throws(() => makeTarget(linux, root, '/file/x', 'directory'), /ENOTDIR/);
  t.throws(() => openInRoot(linux, root, '/nothing'), /ENOENT/);
  t.end();
});
