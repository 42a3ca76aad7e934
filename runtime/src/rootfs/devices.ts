/** Device nodes and the usual symlinks of /dev. */
import { posix } from 'node:path';
import { failedPrecondition, wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  isErrno,
  makedev,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
} from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import type { DeviceType, LinuxDevice } from '@gantry/oci';
import { attach, copyTree } from './detached.ts';
import type { FileSystemCalls } from './filesystems.ts';
import { makeDirectory, normalDestination, openWithoutLinks, statOf, using } from './resolve.ts';

export type DeviceCalls = FileSystemCalls & Pick<FileCalls, 'mknodat' | 'fchownat' | 'symlinkatIfAbsent' | 'unlinkat'>;

/** What every container has (runtime specification, config-linux.md "Default Devices"). */
export const defaultDevices: readonly LinuxDevice[] = [
  { path: '/dev/null', type: 'c', major: 1, minor: 3 },
  { path: '/dev/zero', type: 'c', major: 1, minor: 5 },
  { path: '/dev/full', type: 'c', major: 1, minor: 7 },
  { path: '/dev/random', type: 'c', major: 1, minor: 8 },
  { path: '/dev/urandom', type: 'c', major: 1, minor: 9 },
  { path: '/dev/tty', type: 'c', major: 5, minor: 0 },
];

const DEFAULT_MODE = 0o666;
const S_ISGID = 0o2000;

const symlinks: readonly (readonly [name: string, target: string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
];

const fileTypes: Readonly<Record<DeviceType, number>> = { c: S_IFCHR, u: S_IFCHR, b: S_IFBLK, p: S_IFIFO };

/** The directory that nodes are made in. */
interface DeviceDirectory {
  readonly path: string;
  readonly fd: number;
  /** What is made in it gets its group (S_ISGID). */
  readonly inheritsGroup: boolean;
}

/**
 * Makes the nodes. `byBind` shows the host's nodes instead of making new ones, which a user namespace does not allow.
 * The process's umask must be 0.
 */
export function makeDevices(sys: DeviceCalls, root: number, devices: readonly LinuxDevice[], byBind: boolean): void {
  // Nearly all of them are in one directory, which is looked up once.
  let open: DeviceDirectory | undefined;
  try {
    for (const device of devices) {
      const path = normalDestination(device.path);
      const directory = posix.dirname(path);
      if (open?.path !== directory) {
        if (open !== undefined) sys.close(open.fd);
        open = undefined;
        const fd = openDeviceDirectory(sys, root, directory);
        open = { path: directory, fd, inheritsGroup: false };
        open = { ...open, inheritsGroup: (statOf(sys, fd).mode & S_ISGID) !== 0 };
      }
      try {
        makeDevice(sys, open, posix.basename(path), device, byBind);
      } catch (err) {
        throw wrap(err, `device ${device.path}`);
      }
    }
  } finally {
    if (open !== undefined) sys.close(open.fd);
  }
}

/** A symlink on the way would let the image choose where nodes are made (CVE-2026-41579); it is refused. */
function openDeviceDirectory(sys: DeviceCalls, root: number, path: string): number {
  try {
    return openWithoutLinks(sys, root, path, O_DIRECTORY);
  } catch (err) {
    if (isErrno(err, 'ELOOP')) throw failedPrecondition(`${path} of the root file system is a symlink`);
    if (!isErrno(err, 'ENOENT')) throw err;
  }
  sys.close(makeDirectory(sys, root, path));
  return openWithoutLinks(sys, root, path, O_DIRECTORY);
}

function makeDevice(
  sys: DeviceCalls,
  { fd: directory, inheritsGroup }: DeviceDirectory,
  name: string,
  device: LinuxDevice,
  byBind: boolean,
): void {
  const type = fileTypes[device.type];
  if (byBind && type !== S_IFIFO) {
    bindDevice(sys, directory, name, device.path);
    return;
  }
  const mode = type | ((device.fileMode ?? DEFAULT_MODE) & 0o7777);
  const number = type === S_IFIFO ? 0n : makedev(device.major, device.minor);
  const { uid = 0, gid = 0 } = device;
  try {
    sys.mknodat(directory, name, mode, number);
    // It is ours: nobody else's to look at, and already owned as most are.
    if (uid === 0 && gid === 0 && !inheritsGroup) return;
  } catch (err) {
    if (isErrno(err, 'EPERM')) {
      bindDevice(sys, directory, name, device.path);
      return;
    }
    if (!isErrno(err, 'EEXIST')) throw err;
  }
  const found = sys.fstatat(directory, name, AT_SYMLINK_NOFOLLOW);
  if ((found.mode & S_IFMT) !== type || (type !== S_IFIFO && found.rdev !== number)) {
    throw failedPrecondition('something else is there already');
  }
  if (found.uid !== uid || found.gid !== gid) sys.fchownat(directory, name, uid, gid, AT_SYMLINK_NOFOLLOW);
}

/** Covers an empty file with the host's node of the same path. */
function bindDevice(sys: DeviceCalls, directory: number, name: string, hostPath: string): void {
  sys.close(sys.openat(directory, name, O_RDONLY | O_CREAT | O_NOFOLLOW, DEFAULT_MODE));
  using(sys, sys.openat(directory, name, O_PATH | O_NOFOLLOW), (target) => {
    using(sys, copyTree(sys, AT_FDCWD, hostPath, false), (fd) => attach(sys, fd, target));
  });
}

/** How often /dev/ptmx is taken away again when others put something there at the same moment. */
const PTMX_ATTEMPTS = 10;
const PTMX_TARGET = 'pts/ptmx';

/** /dev/fd and its like, and /dev/ptmx. What an image has there already stays, but for ptmx. */
export function makeDeviceLinks(sys: DeviceCalls, root: number): void {
  using(sys, openDeviceDirectory(sys, root, '/dev'), (dev) => {
    for (const [name, target] of symlinks) sys.symlinkatIfAbsent(target, dev, name);
    if (hostHasKcore(sys)) sys.symlinkatIfAbsent('/proc/kcore', dev, 'core');
    linkPtmx(sys, dev);
  });
}

/**
 * Containers that are created at the same time may share a root directory without a mount at /dev: a link that is right
 * stays, whoever made it.
 */
function linkPtmx(sys: DeviceCalls, dev: number): void {
  for (let attempt = 1; !sys.symlinkatIfAbsent(PTMX_TARGET, dev, 'ptmx') && !isPtmxLink(sys, dev); attempt++) {
    if (attempt > PTMX_ATTEMPTS) throw failedPrecondition('/dev/ptmx of the root file system keeps coming back');
    try {
      sys.unlinkat(dev, 'ptmx', 0);
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw wrap(err, 'replacing /dev/ptmx');
    }
  }
}

function isPtmxLink(sys: DeviceCalls, dev: number): boolean {
  try {
    return sys.readlinkat(dev, 'ptmx').toString() === PTMX_TARGET;
  } catch (err) {
    // EINVAL: no symlink.
    if (isErrno(err, 'ENOENT', 'EINVAL')) return false;
    throw err;
  }
}

const kcore = new WeakMap<object, boolean>();

/** Whether this kernel shows its memory as a file; looked up once for each kernel, and a played one is another. */
function hostHasKcore(sys: DeviceCalls): boolean {
  let found = kcore.get(sys);
  if (found === undefined) {
    found = sys.fstatatIfPresent(AT_FDCWD, '/proc/kcore', AT_SYMLINK_NOFOLLOW) !== undefined;
    kcore.set(sys, found);
  }
  return found;
}
