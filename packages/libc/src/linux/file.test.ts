import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  POSIX_FADV_DONTNEED,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
  TMPFS_MAGIC,
  XATTR_CREATE,
} from '../constants.ts';
import { makedev } from '../devices.ts';
import { linux as sys } from '../linux.ts';

const isRoot = process.getuid?.() === 0;
const dir = mkdtempSync(join(tmpdir(), 'gantry-libc-'));
const dirFd = sys.openat(AT_FDCWD, dir, O_DIRECTORY);
t.teardown(() => {
  sys.close(dirFd);
  rmSync(dir, { recursive: true, force: true });
});

function descriptorFlags(fd: number): string {
  return /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
}
const isCloseOnExec = (fd: number): boolean => (Number.parseInt(descriptorFlags(fd), 8) & 0o2000000) !== 0;

t.test('an error says what failed, why, and on what', async (t) => {
  t.throws(() => sys.openat(AT_FDCWD, '/nowhere/at/all', O_RDONLY), {
    message: "ENOENT: no such file or directory, openat '/nowhere/at/all'",
    code: 'ENOENT',
    errno: 2,
    syscall: 'openat',
    subject: '/nowhere/at/all',
  });
  t.throws(() => sys.fsync(9999), { message: "EBADF: bad file descriptor, fsync 'fd 9999'" });
});

t.test('a name with a NUL inside is refused and not cut short', async (t) => {
  writeFileSync(join(dir, 'secret'), '');
  t.throws(() => sys.openat(dirFd, 'secret\0.txt', O_RDONLY), { code: 'EINVAL' });
  t.throws(() => sys.unlinkat(dirFd, Buffer.from('secret\0.txt'), 0), { code: 'EINVAL' });
  t.ok(statSync(join(dir, 'secret')).isFile());
});

t.test('bytes written are read back, parts of buffers included', async (t) => {
  const fd = sys.openat(dirFd, 'bytes', O_CREAT | O_RDWR, 0o600);
  t.equal(sys.write(fd, Buffer.from('..hello..'), 2, 5), 5);
  t.equal(readFileSync(join(dir, 'bytes'), 'utf8'), 'hello');
  const reader = sys.openat(dirFd, 'bytes', O_RDONLY);
  const into = Buffer.alloc(8, '-');
  t.equal(sys.read(reader, into, 1, 3), 3);
  t.equal(into.toString(), '-hel----');
  t.throws(() => sys.read(reader, into, 6, 3), { code: 'EINVAL' }, 'the kernel is never told to write past the end');
  t.equal(sys.read(reader, into), 2);
  t.equal(sys.read(reader, into), 0);
  sys.seek(fd, 1n << 33n);
  sys.write(fd, Buffer.from('far'));
  t.equal(sys.fstat(fd).size, (1n << 33n) + 3n, 'beyond the end lies a hole');
  t.ok(sys.fstat(fd).blocks < 1000n);
  sys.fadvise(fd, 0n, 0n, POSIX_FADV_DONTNEED);
  sys.ftruncate(fd, 2n);
  t.equal(sys.fstat(fd).size, 2n);
  sys.close(fd);
  sys.close(reader);
  t.throws(() => sys.close(fd), { code: 'EBADF' });
});

t.test('names that are not UTF-8 survive', async (t) => {
  const name = Buffer.from([0x66, 0xff, 0xfe]);
  sys.mkdirat(dirFd, 'odd', 0o755);
  const odd = sys.openat(dirFd, 'odd', O_DIRECTORY);
  sys.close(sys.openat(odd, name, O_CREAT | O_WRONLY, 0o600));
  sys.symlinkat(name, odd, 'link');
  t.same(sys.readlinkat(odd, 'link'), name);
  const names = sys.readDirectory(odd).map((entry) => entry.toString('hex'));
  t.same(names.sort(), [name.toString('hex'), Buffer.from('link').toString('hex')].sort());
  sys.close(odd);
});

t.test('a large directory is read whole', async (t) => {
  mkdirSync(join(dir, 'many'));
  for (let i = 0; i < 2000; i++) writeFileSync(join(dir, 'many', `file-with-a-rather-long-name-${i}`), '');
  const many = sys.openat(dirFd, 'many', O_DIRECTORY);
  t.equal(new Set(sys.readDirectory(many).map(String)).size, 2000);
  sys.close(many);
});

t.test('stat agrees with Node to the nanosecond', async (t) => {
  writeFileSync(join(dir, 'stat'), 'x'.repeat(5000), { mode: 0o640 });
  sys.utimensat(dirFd, 'stat', 1_234_567_890_123_456_789n, undefined, 0);
  const theirs = statSync(join(dir, 'stat'), { bigint: true });
  const ours = sys.fstatat(dirFd, 'stat', 0);
  for (const key of ['dev', 'ino', 'rdev', 'size', 'blocks', 'atimeNs', 'mtimeNs', 'ctimeNs'] as const) {
    t.equal(ours[key], theirs[key], key);
  }
  for (const key of ['mode', 'nlink', 'uid', 'gid'] as const) t.equal(BigInt(ours[key]), theirs[key], key);
  t.equal(ours.atimeNs, 1_234_567_890_123_456_789n);
});

t.test('times before 1970 keep their nanoseconds', async (t) => {
  writeFileSync(join(dir, 'old'), '');
  sys.utimensat(dirFd, 'old', -1n, -1_500_000_000n, 0);
  const { atimeNs, mtimeNs } = sys.fstatat(dirFd, 'old', 0);
  t.equal(atimeNs, -1n);
  t.equal(mtimeNs, -1_500_000_000n);
});

t.test('symbolic links are changed themselves when asked', async (t) => {
  sys.symlinkat('/etc/passwd', dirFd, 'passwd');
  sys.utimensat(dirFd, 'passwd', 5n, 7n, AT_SYMLINK_NOFOLLOW);
  t.equal(sys.fstatat(dirFd, 'passwd', AT_SYMLINK_NOFOLLOW).mtimeNs, 7n);
  const link = sys.openat(dirFd, 'passwd', O_PATH | O_NOFOLLOW);
  t.equal(sys.readlinkat(link, '').toString(), '/etc/passwd');
  t.equal(sys.fstatat(link, '', AT_EMPTY_PATH).mtimeNs, 7n);
  sys.close(link);
});

t.test('a path cannot climb out of a root directory', async (t) => {
  const root = join(dir, 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(root, 'etc', 'passwd'), 'inside');
  writeFileSync(join(dir, 'outside'), 'outside');
  symlinkSync('/etc/passwd', join(root, 'absolute'));
  symlinkSync('../../../../../../etc/passwd', join(root, 'climbing'));
  symlinkSync('/proc/self/root/etc/passwd', join(root, 'magic'));
  const rootFd = sys.openat(AT_FDCWD, root, O_DIRECTORY | O_PATH);
  const open = (path: string, resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS): string => {
    const fd = sys.openat2(rootFd, path, { flags: O_RDONLY, resolve });
    const content = readFileSync(fd, 'utf8');
    sys.close(fd);
    return content;
  };
  t.equal(open('absolute'), 'inside');
  t.equal(open('climbing'), 'inside');
  t.equal(open('../../../etc/passwd'), 'inside');
  t.throws(() => open('../outside'), { code: 'ENOENT' });
  t.throws(() => open('magic'), { code: 'ENOENT' });
  t.throws(() => open('absolute', RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS), { code: 'ELOOP' });
  sys.close(rootFd);
});

t.test('every new descriptor is close-on-exec, except what dup2 made', async (t) => {
  const file = sys.openat(AT_FDCWD, '/dev/null', O_RDWR);
  const { readEnd, writeEnd } = sys.pipe2(O_NONBLOCK);
  const copy = sys.dup(file, 50);
  t.ok(copy >= 50);
  for (const fd of [file, readEnd, writeEnd, copy]) t.ok(isCloseOnExec(fd));
  sys.dup2(file, copy);
  t.notOk(isCloseOnExec(copy));
  sys.dup2(file, file);
  t.notOk(isCloseOnExec(file), 'onto itself too');
  sys.setCloseOnExec(file, true);
  t.ok(isCloseOnExec(file));
  t.equal(sys.read(readEnd, Buffer.alloc(1)), undefined, 'an empty non-blocking pipe');
  for (const fd of [file, readEnd, writeEnd, copy]) sys.close(fd);
});

const rootOnly = isRoot ? {} : { skip: 'needs root' };

t.test('extended attributes are set and read, through O_PATH too', rootOnly, async (t) => {
  writeFileSync(join(dir, 'attributes'), '');
  const name = 'trusted.gantry-test';
  const path = sys.openat(dirFd, 'attributes', O_PATH);
  const file = sys.openat(dirFd, 'attributes', O_RDONLY);
  const long = Buffer.alloc(1000, 7);
  t.equal(sys.fgetxattr(path, name), undefined);
  sys.fsetxattr(path, name, Buffer.from('one'), 0);
  t.equal(sys.fgetxattr(file, name)?.toString(), 'one');
  t.throws(() => sys.fsetxattr(file, name, long, XATTR_CREATE), { code: 'EEXIST' });
  sys.fsetxattr(file, name, long, 0);
  t.same(sys.fgetxattr(path, name), long);
  t.ok(sys.flistxattr(path).includes(name));
  t.ok(sys.llistxattr(join(dir, 'attributes')).includes(name));
  symlinkSync('attributes', join(dir, 'attributes-link'));
  t.equal(sys.lgetxattr(join(dir, 'attributes-link'), name), undefined, 'the link is not followed');
  sys.lsetxattr(join(dir, 'attributes-link'), name, Buffer.from('link'), 0);
  t.equal(sys.lgetxattr(join(dir, 'attributes-link'), name)?.toString(), 'link');
  t.throws(() => sys.fgetxattr(9999, name), { code: 'EBADF' });
  sys.close(path);
  sys.close(file);
});

t.test('fifos are made', async (t) => {
  sys.mknodat(dirFd, 'fifo', S_IFIFO | 0o600, 0n);
  t.equal(sys.fstatat(dirFd, 'fifo', 0).mode & S_IFMT, S_IFIFO);
});

t.test('device nodes are made', rootOnly, async (t) => {
  sys.mknodat(dirFd, 'null', S_IFCHR | 0o600, makedev(1, 3));
  t.equal(sys.fstatat(dirFd, 'null', 0).rdev, makedev(1, 3));
});

t.test('files are linked, renamed, owned and removed by descriptor', async (t) => {
  sys.close(sys.openat(dirFd, 'first', O_CREAT | O_WRONLY, 0o600));
  sys.linkat(dirFd, 'first', dirFd, 'second', 0);
  t.equal(sys.fstatat(dirFd, 'second', 0).nlink, 2);
  sys.renameat(dirFd, 'second', dirFd, 'third');
  sys.fchmodat(dirFd, 'third', 0o4755);
  t.equal(sys.fstatat(dirFd, 'first', 0).mode & 0o7777, 0o4755);
  if (isRoot) {
    sys.fchownat(dirFd, 'third', 0xffff_fffe, 12, 0);
    t.equal(sys.fstatat(dirFd, 'first', 0).uid, 0xffff_fffe);
  }
  sys.unlinkat(dirFd, 'third', 0);
  sys.unlinkat(dirFd, 'first', 0);
  t.throws(() => sys.fstatat(dirFd, 'first', 0), { code: 'ENOENT' });
});

t.test('the type of a file system is known by its magic', async (t) => {
  const shm = sys.openat(AT_FDCWD, '/dev', O_PATH);
  const { type, blockSizeBytes } = sys.fstatfs(shm);
  t.equal(type, TMPFS_MAGIC);
  t.ok(blockSizeBytes > 0n);
  sys.close(shm);
});
