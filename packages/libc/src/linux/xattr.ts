/** Extended attributes (xattr(7)): by descriptor, O_PATH ones included, and by path without following its last link. */
import { EBADF, ENODATA, ENOENT, ERANGE } from '../errno.ts';
import { check, cString, declare, errno, failure, type NativeFunction } from '../native.ts';
import type { FileCalls, Path } from '../syscalls.ts';

const c = declare('glibc', {
  // int setxattr(const char *path, const char *name, const void *value, size_t size, int flags); value is the caller's
  setxattr: 'int setxattr(const char *path, const char *name, void *value, size_t size, int flags)',
  lsetxattr: 'int lsetxattr(const char *path, const char *name, void *value, size_t size, int flags)',
  fsetxattr: 'int fsetxattr(int fd, const char *name, void *value, size_t size, int flags)',
  // ssize_t getxattr(const char *path, const char *name, void *value, size_t size); value is ours
  getxattr: 'long getxattr(const char *path, const char *name, void *value, size_t size)',
  lgetxattr: 'long lgetxattr(const char *path, const char *name, void *value, size_t size)',
  fgetxattr: 'long fgetxattr(int fd, const char *name, void *value, size_t size)',
  // ssize_t listxattr(const char *path, char *list, size_t size); list is ours: names, each ended by a NUL
  listxattr: 'long listxattr(const char *path, void *list, size_t size)',
  llistxattr: 'long llistxattr(const char *path, void *list, size_t size)',
  flistxattr: 'long flistxattr(int fd, void *list, size_t size)',
});

const FIRST_SIZE = 256;
/** XATTR_SIZE_MAX and XATTR_LIST_MAX: nothing is longer. */
const LARGEST_SIZE = 65536;

/**
 * Makes a call that fills a buffer; most values fit the first one. Returns undefined when the attribute is not there,
 * and the negative of the errno on any other failure.
 */
function fill(call: (buffer: Buffer) => number): Buffer | number | undefined {
  for (const size of [FIRST_SIZE, LARGEST_SIZE]) {
    const buffer = Buffer.alloc(size);
    const length = call(buffer);
    if (length >= 0) return buffer.subarray(0, length);
    const code = errno();
    if (code === ENODATA) return undefined;
    if (code !== ERANGE) return -code;
  }
  return -ERANGE;
}

function names(list: Buffer | undefined): string[] {
  return list === undefined ? [] : list.toString('utf8').split('\0').filter(Boolean);
}

function throughProc(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** An O_PATH descriptor refuses f…xattr with EBADF; the magic link in /proc leads to the same file and does not. */
function fillByDescriptor(
  fd: number,
  syscall: string,
  byDescriptor: (buffer: Buffer) => number,
  byPath: (path: string, buffer: Buffer) => number,
): Buffer | undefined {
  let result = fill(byDescriptor);
  if (result === -EBADF) {
    result = fill((buffer) => byPath(throughProc(fd), buffer));
    if (result === -ENOENT) result = -EBADF;
  }
  if (typeof result === 'number') throw failure(syscall, -result, fd);
  return result;
}

function fillByPath(path: Path, syscall: string, call: NativeFunction, name?: string | Buffer): Buffer | undefined {
  const file = cString(path, syscall);
  const result = fill((buffer) =>
    name === undefined ? call(file, buffer, buffer.length) : call(file, name, buffer, buffer.length),
  );
  if (typeof result === 'number') throw failure(syscall, -result, path);
  return result;
}

type Calls = Pick<FileCalls, 'fsetxattr' | 'fgetxattr' | 'flistxattr' | 'lsetxattr' | 'lgetxattr' | 'llistxattr'>;

export const xattrCalls: Calls = {
  fsetxattr(fd, name, value, flags) {
    const attribute = cString(name, 'fsetxattr');
    if (c.fsetxattr(fd, attribute, value, value.length, flags) === 0) return;
    const code = errno();
    if (code !== EBADF) throw failure('fsetxattr', code, fd);
    if (c.setxattr(throughProc(fd), attribute, value, value.length, flags) === 0) return;
    const second = errno();
    throw failure('fsetxattr', second === ENOENT ? EBADF : second, fd);
  },

  fgetxattr(fd, name) {
    const attribute = cString(name, 'fgetxattr');
    return fillByDescriptor(
      fd,
      'fgetxattr',
      (buffer) => c.fgetxattr(fd, attribute, buffer, buffer.length),
      (path, buffer) => c.getxattr(path, attribute, buffer, buffer.length),
    );
  },

  flistxattr: (fd) =>
    names(
      fillByDescriptor(
        fd,
        'flistxattr',
        (buffer) => c.flistxattr(fd, buffer, buffer.length),
        (path, buffer) => c.listxattr(path, buffer, buffer.length),
      ),
    ),

  lsetxattr(path, name, value, flags) {
    const attribute = cString(name, 'lsetxattr');
    check(c.lsetxattr(cString(path, 'lsetxattr'), attribute, value, value.length, flags), 'lsetxattr', path);
  },

  lgetxattr: (path, name) => fillByPath(path, 'lgetxattr', c.lgetxattr, cString(name, 'lgetxattr')),

  llistxattr: (path) => names(fillByPath(path, 'llistxattr', c.llistxattr)),
};
