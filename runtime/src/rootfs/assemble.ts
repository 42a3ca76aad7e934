/**
 * The container's root file system, put together inside its own mount namespace and by descriptors only: nothing is ever
 * mounted on the host, and nothing has to be unmounted when any step fails.
 *
 *   1  what the host mounts later comes in (or not), nothing goes out          rootfsPropagation
 *   2  the root lies on top of the old one                                      rootfs mounts
 *   3  the mount list in its order, control groups included                     mounts
 *   4  device nodes, /dev links, the terminal                                   linux.devices, process.terminal
 *      hooks
 *   5  masked and read-only paths, the working directory                        linux.maskedPaths, readonlyPaths
 *   6  read-only tmpfs mounts and the read-only root                            root.readonly
 *   7  the old root goes                                                        enterRootfs
 */
import {
  AT_FDCWD,
  AT_RECURSIVE,
  isErrno,
  MOUNT_ATTR_RDONLY,
  MS_PRIVATE,
  MS_SHARED,
  MS_UNBINDABLE,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
} from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { LinuxDevice } from '@gantry/oci';
import { bindConsole, openConsole } from '../process/console.ts';
import type { Console } from '../process/console.ts';
import type { ProcessPlan } from '../process/plan.ts';
import { mountCgroup } from './cgroup-mount.ts';
import type { CgroupView } from './cgroup-mount.ts';
import { attach, attachOnRoot, setAttributes } from './detached.ts';
import { defaultDevices, makeDeviceLinks, makeDevices } from './devices.ts';
import { mountEntry } from './filesystems.ts';
import type { LateReadonly } from './filesystems.ts';
import type { Propagation } from './mount-options.ts';
import { maskPaths, protectPaths } from './paths.ts';
import { chrootInstead, enterDirectoryAsRoot, pivot, revealingMounts } from './pivot.ts';
import { makeDirectory, using } from './resolve.ts';
import type { PlannedMount, PreparedMount } from './sources.ts';

/** Decided by the parent; the descriptors in it are inherited by the child. */
export interface RootfsPlan {
  readonly root: readonly PreparedMount[];
  readonly mounts: readonly PlannedMount[];
  readonly propagation: Propagation;
  readonly cgroup: CgroupView;
  readonly devices: readonly LinuxDevice[];
  /** The host's device nodes are shown instead of new ones: in a user namespace. */
  readonly bindDevices: boolean;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly isReadonly: boolean;
  /** SELinux label of the file systems that are made. */
  readonly mountLabel: string | undefined;
  readonly noPivot: boolean;
  /** The parent has attached the root where everybody sees it: there is no mount namespace but the runtime's. */
  readonly isOnHost: boolean;
  /** Where hooks look for the root; undefined: on top of the old one, which is the same to the container. */
  readonly attachAt: string | undefined;
}

export interface AssembledRootfs {
  /** A descriptor of the new root directory. */
  readonly root: number;
  readonly console: Console | undefined;
}

/** Steps 1 to 6. Changes the working directory. The umask must be 0. `runHooks` is called after the fourth. */
export function assembleRootfs(
  sys: Syscalls,
  plan: RootfsPlan,
  process: ProcessPlan,
  runHooks?: () => void,
): AssembledRootfs {
  if (!plan.isOnHost) setBasePropagation(sys, plan.propagation);
  const root = attachRoot(sys, plan);
  const late: LateReadonly = [];
  for (const mount of plan.mounts) {
    if (mount.type === 'cgroup' || mount.type === 'cgroup2')
      mountCgroup(sys, root, mount, plan.cgroup, plan.mountLabel);
    else mountEntry(sys, root, mount, late, plan.mountLabel);
  }
  const console = setUpDevices(sys, root, plan, process);
  runHooks?.();
  protectPaths(sys, root, plan.readonlyPaths);
  maskPaths(sys, root, plan.maskedPaths, plan.mountLabel);
  sys.close(makeDirectory(sys, root, process.cwd));
  for (const fd of late) setAttributes(sys, fd, { set: MOUNT_ATTR_RDONLY, clear: 0 }, false);
  if (plan.isReadonly) setAttributes(sys, root, { set: MOUNT_ATTR_RDONLY, clear: 0 }, false);
  return { root, console };
}

function setBasePropagation(sys: Syscalls, { type, recursive }: Propagation): void {
  sys.mountSetattr(AT_FDCWD, '/', recursive ? AT_RECURSIVE : 0, { set: 0, clear: 0, propagation: type });
  // What our root is mounted on must not show it to the host, whatever was asked for the rest.
  if (type === MS_SHARED || type === MS_UNBINDABLE) {
    sys.mountSetattr(AT_FDCWD, '/', 0, { set: 0, clear: 0, propagation: MS_PRIVATE });
  }
}

/** Attaches the mounts that make the root; returns a descriptor of it. */
function attachRoot(sys: Syscalls, { root: mounts, attachAt, isOnHost }: RootfsPlan): number {
  if (isOnHost) return mounts[0]?.fd ?? -1;
  let root = -1;
  for (const { fd, destination } of mounts) {
    if (root < 0 && attachAt !== undefined) attachAtPath(sys, fd, attachAt);
    else if (root < 0) attachOnRoot(sys, fd);
    else using(sys, makeDirectory(sys, root, destination), (target) => attach(sys, fd, target));
    if (destination === '/') root = fd;
  }
  return root;
}

/** On the directory of the host; where that is out of reach (a user namespace) or gone, on top of the old root. */
function attachAtPath(sys: Syscalls, fd: number, path: string): void {
  let target: number;
  try {
    target = sys.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY);
  } catch (err) {
    if (!isErrno(err, 'ENOENT', 'EACCES', 'ENOTDIR')) throw err;
    attachOnRoot(sys, fd);
    return;
  }
  using(sys, target, () => attach(sys, fd, target));
}

function setUpDevices(sys: Syscalls, root: number, plan: RootfsPlan, process: ProcessPlan): Console | undefined {
  const isHostDev = plan.mounts.some(({ destination, tree }) => destination === '/dev' && tree !== undefined);
  if (!isHostDev) {
    const named = new Set(plan.devices.map(({ path }) => path));
    const defaults = defaultDevices.filter(({ path }) => !named.has(path));
    makeDevices(sys, root, [...defaults, ...plan.devices], plan.bindDevices);
    makeDeviceLinks(sys, root);
  }
  if (!process.terminal) return undefined;
  const console = openConsole(sys, root, process);
  if (!isHostDev) bindConsole(sys, root, console.slave);
  return console;
}

/** Step 7. */
export function enterRootfs(sys: Syscalls, plan: RootfsPlan, root: number): void {
  const { type, recursive } = plan.propagation;
  if (plan.isOnHost) {
    enterDirectoryAsRoot(sys, root);
    return;
  }
  if (plan.noPivot) chrootInstead(sys, root, revealingMounts(readText(sys, '/proc/self/mountinfo')));
  else pivot(sys, root, type === MS_SHARED);
  if (type !== MS_SHARED && type !== MS_UNBINDABLE) return;
  sys.mountSetattr(AT_FDCWD, '/', recursive ? AT_RECURSIVE : 0, { set: 0, clear: 0, propagation: type });
}

function readText(sys: Syscalls, path: string): string {
  return using(sys, sys.openat(AT_FDCWD, path, O_RDONLY), (fd) => {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.alloc(64 * 1024);
      const length = sys.read(fd, chunk) ?? 0;
      if (length === 0) return Buffer.concat(chunks).toString();
      chunks.push(chunk.subarray(0, length));
    }
  });
}
