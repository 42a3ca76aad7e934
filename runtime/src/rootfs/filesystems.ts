/** The mount list, carried out in the child: one entry after the other, in the configuration's order. */
import { invalidArgument, wrap } from '@gantry/errors';
import {
  isErrno,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NODIRATIME,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_NOSYMFOLLOW,
  MOUNT_ATTR_RDONLY,
  O_DIRECTORY,
  PROC_SUPER_MAGIC,
} from '@gantry/libc';
import type { FileStat } from '@gantry/libc';
import { labelOptions } from '../process/selinux.ts';
import { copyUp } from './copy-up.ts';
import type { CopyCalls } from './copy-up.ts';
import { attach, changeFileSystem, mountDetached, setAttributes, setPropagation, singleOptions } from './detached.ts';
import type { DetachedCalls } from './detached.ts';
import type { PlannedMount } from './sources.ts';
import { isDirectory, makeTarget, openIfPresent, openInRoot, openWithoutLinks, statOf, using } from './resolve.ts';
import type { ResolveCalls } from './resolve.ts';

export type FileSystemCalls = DetachedCalls & ResolveCalls;

type EntryCalls = FileSystemCalls & CopyCalls;

/** Mounted over by lxcfs and its like; everything else inside /proc is the kernel's alone. */
const allowedInProc: ReadonlySet<string> = new Set([
  '/proc/cpuinfo',
  '/proc/diskstats',
  '/proc/meminfo',
  '/proc/stat',
  '/proc/swaps',
  '/proc/uptime',
  '/proc/loadavg',
  '/proc/slabinfo',
  '/proc/sys/kernel/ns_last_pid',
  '/proc/sys/crypto/fips_enabled',
]);

/** All attributes of a mount but the kind of access times. */
const plainAttributes =
  MOUNT_ATTR_RDONLY |
  MOUNT_ATTR_NOSUID |
  MOUNT_ATTR_NODEV |
  MOUNT_ATTR_NOEXEC |
  MOUNT_ATTR_NODIRATIME |
  MOUNT_ATTR_NOSYMFOLLOW;

/** Mounts to be made read-only when everything in them has been made. The descriptors are the caller's to close. */
export type LateReadonly = number[];

/** Carries one entry out. Cgroup mounts are elsewhere (cgroup-mount.ts). */
export function mountEntry(
  sys: EntryCalls,
  root: number,
  mount: PlannedMount,
  late: LateReadonly,
  label: string | undefined,
): void {
  try {
    if (mount.options.remount) changeMount(sys, root, mount);
    else if (mount.tree !== undefined) attachTree(sys, root, mount, mount.tree);
    else mountFileSystem(sys, root, mount, late, label);
  } catch (err) {
    throw wrap(err, `error mounting "${mount.source}" to rootfs at "${mount.destination}"`);
  }
}

function attachTree(
  sys: FileSystemCalls,
  root: number,
  mount: PlannedMount,
  tree: { readonly fd: number; readonly isDirectory: boolean },
): void {
  if (mount.destination === '/proc' && !isProcfs(sys, tree.fd)) {
    throw invalidArgument('"/proc" cannot be mounted because it is not of type proc');
  }
  using(sys, makeTarget(sys, root, mount.destination, tree.isDirectory ? 'directory' : 'file'), (target) => {
    checkTarget(sys, root, mount, target);
    attach(sys, tree.fd, target);
  });
}

function mountFileSystem(
  sys: EntryCalls,
  root: number,
  mount: PlannedMount,
  late: LateReadonly,
  label: string | undefined,
): void {
  const { type, source, options, destination } = mount;
  if (destination === '/proc' && type !== 'proc') {
    throw invalidArgument('"/proc" cannot be mounted because it is not of type proc');
  }
  const isTmpfs = type === 'tmpfs';
  const data = [...singleOptions(options.data), ...labelOptions(type, label)];
  // What is mounted read-only from the start could not hold the mount points and devices that follow.
  const readOnlyLater = isTmpfs && (options.attributes.set & MOUNT_ATTR_RDONLY) !== 0;
  const attributes = readOnlyLater
    ? { ...options.attributes, set: options.attributes.set & ~MOUNT_ATTR_RDONLY }
    : options.attributes;
  const superFlags = readOnlyLater ? options.superFlags.filter((flag) => flag !== 'ro') : options.superFlags;
  const existing = isTmpfs ? openIfPresent(sys, root, destination, O_DIRECTORY) : undefined;
  const target = existing ?? openTarget(sys, root, mount);
  let fd: number | undefined;
  try {
    const { mode } = checkTarget(sys, root, mount, target);
    // A tmpfs over an existing directory keeps that directory's mode, unless the options say otherwise.
    if (existing !== undefined) data.unshift(`mode=${(mode & 0o7777).toString(8)}`);
    fd = mountDetached(sys, { type, source, attributes, superFlags, data });
    if (type === 'mqueue' && label !== undefined) sys.fsetxattr(fd, 'security.selinux', Buffer.from(label), 0);
    if (options.tmpcopyup && existing !== undefined) copyUp(sys, existing, fd);
    attach(sys, fd, target);
    if (options.recursiveAttributes !== undefined) setAttributes(sys, fd, options.recursiveAttributes, true);
    for (const propagation of options.propagation) setPropagation(sys, fd, propagation);
    if (readOnlyLater) {
      late.push(fd);
      fd = undefined;
    }
  } finally {
    sys.close(target);
    if (fd !== undefined) sys.close(fd);
  }
}

/** `remount`: with `bind` the mount's own attributes, else its file system as well. Throws when nothing is mounted there. */
function changeMount(sys: FileSystemCalls, root: number, { destination, options }: PlannedMount): void {
  using(sys, openInRoot(sys, root, destination), (target) => {
    if (options.bind === 'no') changeFileSystem(sys, target, options.superFlags, singleOptions(options.data));
    // As mount(2) does it: what is not asked for is taken away, but for the kind of access times.
    const { set, clear } = options.attributes;
    setAttributes(sys, target, { set, clear: (plainAttributes & ~set) | clear }, false);
    if (options.recursiveAttributes !== undefined) setAttributes(sys, target, options.recursiveAttributes, true);
    for (const propagation of options.propagation) setPropagation(sys, target, propagation);
  });
}

/** proc and sysfs are what everything else is checked against; nothing of the image may lead their mount astray. */
function openTarget(sys: FileSystemCalls, root: number, mount: PlannedMount): number {
  if (mount.type !== 'proc' && mount.type !== 'sysfs') return makeTarget(sys, root, mount.destination, 'directory');
  try {
    return openWithoutLinks(sys, root, mount.destination, O_DIRECTORY);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return makeTarget(sys, root, mount.destination, 'directory');
    if (isErrno(err, 'ELOOP', 'ENOTDIR')) {
      throw invalidArgument(`filesystem "${mount.type}" must be mounted on ordinary directory`);
    }
    throw err;
  }
}

/** Neither the root itself nor a place inside procfs may be covered. Returns what is there. */
function checkTarget(sys: FileSystemCalls, root: number, mount: PlannedMount, target: number): FileStat {
  const here = statOf(sys, target);
  const top = statOf(sys, root);
  if (here.dev === top.dev && here.ino === top.ino) throw invalidArgument('mount destination is the root file system');
  const insideProc = mount.destination.startsWith('/proc/') || (mount.destination !== '/proc' && isProcfs(sys, target));
  if (insideProc && !allowedInProc.has(mount.destination)) {
    throw invalidArgument(`"${mount.destination}" cannot be mounted because it is inside /proc`);
  }
  if (!insideProc || isDirectory(here)) return here;
  // An allowed name must also be that file and not a symlink of the image to another.
  sys.close(openWithoutLinks(sys, root, mount.destination));
  return here;
}

function isProcfs(sys: FileSystemCalls, fd: number): boolean {
  return sys.fstatfs(fd).type === PROC_SUPER_MAGIC;
}
