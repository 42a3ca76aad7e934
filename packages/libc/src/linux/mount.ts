/** Namespaces, host identity and the mount tree. */
import {
  FSCONFIG_CMD_CREATE,
  FSCONFIG_CMD_RECONFIGURE,
  FSCONFIG_SET_FD,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  FSPICK_CLOEXEC,
  FSPICK_EMPTY_PATH,
  OPEN_TREE_CLOEXEC,
} from '../constants/mount.ts';
import { check, cString, declare, interrupted } from '../native.ts';
import { NR } from '../syscall-numbers.ts';
import type { MountCalls, Path } from '../syscalls.ts';

const c = declare('glibc', {
  unshare: 'int unshare(int flags)',
  setns: 'int setns(int fd, int nstype)',
  sethostname: 'int sethostname(const char *name, size_t len)',
  setdomainname: 'int setdomainname(const char *name, size_t len)',
  chdir: 'int chdir(const char *path)',
  fchdir: 'int fchdir(int fd)',
  chroot: 'int chroot(const char *path)',
  // char *getcwd(char *buf, size_t size): fills our buffer; its result is only looked at for null
  getcwd: 'intptr_t getcwd(void *buf, size_t size)',
  // ssize_t read(int fd, void *buf, size_t count); buf is ours
  read: 'long read(int fd, void *buf, size_t count)',
  // int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
  mount: 'int mount(const char *source, const char *target, const char *type, ulong flags, const char *data)',
  umount2: 'int umount2(const char *target, int flags)',
  // long syscall(SYS_pivot_root, const char *new_root, const char *put_old)
  pivotRoot: 'long syscall(long nr, const char *new_root, const char *put_old)',
  // long syscall(SYS_fsopen, const char *fsname, unsigned flags)
  fsopen: 'long syscall(long nr, const char *fsname, uint flags)',
  // long syscall(SYS_fsconfig, int fd, unsigned cmd, const char *key, const void *value, int aux)
  fsconfig: 'long syscall(long nr, int fd, uint cmd, const char *key, const char *value, int aux)',
  // long syscall(SYS_fspick, int dirfd, const char *path, unsigned flags)
  fspick: 'long syscall(long nr, int dirfd, const char *path, uint flags)',
  // long syscall(SYS_fsmount, int fd, unsigned flags, unsigned attr_flags)
  fsmount: 'long syscall(long nr, int fd, uint flags, uint attr_flags)',
  // long syscall(SYS_open_tree, int dirfd, const char *path, unsigned flags)
  openTree: 'long syscall(long nr, int dirfd, const char *path, uint flags)',
  // long syscall(SYS_move_mount, int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
  moveMount: 'long syscall(long nr, int from_dirfd, const char *from, int to_dirfd, const char *to, uint flags)',
  // long syscall(SYS_mount_setattr, int dirfd, const char *path, unsigned flags, struct mount_attr *attr, size_t size)
  mountSetattr: 'long syscall(long nr, int dirfd, const char *path, uint flags, void *attr, size_t size)',
});

const PATH_MAX = 4096;
const MOUNT_ATTR_BYTES = 32;

// Scratch memory: a Buffer a call would be an allocation and a page of it, in every process that forks from here.
const attr = Buffer.alloc(MOUNT_ATTR_BYTES);
const cwd = Buffer.alloc(PATH_MAX);

function optional(value: string | undefined, syscall: string): string | Buffer | null {
  return value === undefined ? null : cString(value, syscall);
}

/** A descriptor itself when the path is empty, else the path. */
function target(dirfd: number, path: Path): Path | number {
  return path.length === 0 ? dirfd : path;
}

function fsconfig(fd: number, command: number, key: string | null, value: string | null, aux: number): void {
  const name = key === null ? null : cString(key, 'fsconfig');
  const text = value === null ? null : cString(value, 'fsconfig');
  let result: number;
  do result = c.fsconfig(NR.fsconfig, fd, command, name, text, aux);
  while (interrupted(result));
  if (result < 0) check(result, 'fsconfig', fsconfigSubject(key, value, aux, command));
}

function fsconfigSubject(key: string | null, value: string | null, aux: number, command: number): string {
  if (key === null) return command === FSCONFIG_CMD_RECONFIGURE ? 'reconfigure' : 'create';
  if (command === FSCONFIG_SET_FD) return `${key}=fd ${aux}`;
  return value === null ? key : `${key}=${value}`;
}

export const mountCalls: MountCalls = {
  unshare(flags) {
    check(c.unshare(flags | 0), 'unshare', `flags 0x${(flags >>> 0).toString(16)}`);
  },

  setns(fd, nstype) {
    check(c.setns(fd, nstype | 0), 'setns', fd);
  },

  sethostname(name) {
    check(c.sethostname(cString(name, 'sethostname'), Buffer.byteLength(name)), 'sethostname', name);
  },

  setdomainname(name) {
    check(c.setdomainname(cString(name, 'setdomainname'), Buffer.byteLength(name)), 'setdomainname', name);
  },

  chdir(path) {
    check(c.chdir(cString(path, 'chdir')), 'chdir', path);
  },

  fchdir(fd) {
    check(c.fchdir(fd), 'fchdir', fd);
  },

  chroot(path) {
    check(c.chroot(cString(path, 'chroot')), 'chroot', path);
  },

  getcwd() {
    check(c.getcwd(cwd, cwd.length) === 0 ? -1 : 0, 'getcwd', '');
    return cwd.toString('utf8', 0, cwd.indexOf(0));
  },

  pivotRoot(newRoot, putOld) {
    const result = c.pivotRoot(NR.pivot_root, cString(newRoot, 'pivot_root'), cString(putOld, 'pivot_root'));
    check(result, 'pivot_root', newRoot);
  },

  mount(source, path, type, flags, data) {
    const result = c.mount(
      optional(source, 'mount'),
      cString(path, 'mount'),
      optional(type, 'mount'),
      flags >>> 0,
      optional(data, 'mount'),
    );
    check(result, 'mount', path);
  },

  umount2(path, flags) {
    check(c.umount2(cString(path, 'umount2'), flags), 'umount2', path);
  },

  fsopen: (type) => check(c.fsopen(NR.fsopen, cString(type, 'fsopen'), FSOPEN_CLOEXEC), 'fsopen', type),

  fsconfigString(fd, key, value) {
    fsconfig(fd, FSCONFIG_SET_STRING, key, value, 0);
  },

  fsconfigFlag(fd, key) {
    fsconfig(fd, FSCONFIG_SET_FLAG, key, null, 0);
  },

  fsconfigFd(fd, key, value) {
    fsconfig(fd, FSCONFIG_SET_FD, key, null, value);
  },

  fsconfigCreate(fd) {
    fsconfig(fd, FSCONFIG_CMD_CREATE, null, null, 0);
  },

  fspick: (fd) => check(c.fspick(NR.fspick, fd, '', FSPICK_CLOEXEC | FSPICK_EMPTY_PATH), 'fspick', fd),

  fsconfigReconfigure(fd) {
    fsconfig(fd, FSCONFIG_CMD_RECONFIGURE, null, null, 0);
  },

  fsmount: (fd, attributes) => check(c.fsmount(NR.fsmount, fd, FSMOUNT_CLOEXEC, attributes), 'fsmount', fd),

  openTree(dirfd, path, flags) {
    const result = c.openTree(NR.open_tree, dirfd, cString(path, 'open_tree'), (flags | OPEN_TREE_CLOEXEC) >>> 0);
    return check(result, 'open_tree', target(dirfd, path));
  },

  moveMount(fromFd, fromPath, toFd, toPath, flags) {
    const from = cString(fromPath, 'move_mount');
    const result = c.moveMount(NR.move_mount, fromFd, from, toFd, cString(toPath, 'move_mount'), flags);
    check(result, 'move_mount', target(toFd, toPath));
  },

  mountSetattr(dirfd, path, flags, attributes) {
    // Four 64-bit numbers, of which no used bit is above the 32nd.
    attr.writeInt32LE(attributes.set | 0, 0);
    attr.writeInt32LE(attributes.clear | 0, 8);
    attr.writeInt32LE(attributes.propagation ?? 0, 16);
    attr.writeInt32LE(attributes.userNamespaceFd ?? 0, 24);
    const name = cString(path, 'mount_setattr');
    const result = c.mountSetattr(NR.mount_setattr, dirfd, name, flags >>> 0, attr, MOUNT_ATTR_BYTES);
    check(result, 'mount_setattr', target(dirfd, path));
  },

  readFsContextLog(fd) {
    const messages: string[] = [];
    const buffer = Buffer.alloc(4096);
    // One message a read, until ENODATA. The kernel keeps at most eight.
    for (let n = c.read(fd, buffer, buffer.length); n > 0; n = c.read(fd, buffer, buffer.length)) {
      // `e overlay: No lowerdir` – the letter is the severity.
      messages.push(
        buffer
          .toString('utf8', 0, n)
          .replace(/^[ewi] /, '')
          .trimEnd(),
      );
    }
    return messages.join('; ');
  },
};
