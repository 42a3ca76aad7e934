/**
 * What criu finds when it restores: a mount namespace of its own, in which the container's root and its bind mounts are
 * attached. criu makes the container's mounts from these; nothing is ever mounted on the host, and all of it is gone when
 * criu has ended.
 *
 *   STATE/criu/        a tmpfs
 *     root             the root file system, a mount as criu wants it
 *     null             a null device for masked files: the host's own would be the container's to change
 *     0, 1, …          the bind mounts in the order of the list
 *
 * Mount points that the root lacks are made as for a new container, because criu makes none.
 */
import { join } from 'node:path';
import { wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  AT_RECURSIVE,
  CLONE_NEWNS,
  makedev,
  MNT_DETACH,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MS_SLAVE,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  S_IFCHR,
} from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { attach, copyTree, mountDetached } from '../rootfs/detached.ts';
import { attachOnHost } from '../rootfs/on-host.ts';
import { makeTarget, using } from '../rootfs/resolve.ts';
import type { PlannedMount, PreparedMount } from '../rootfs/sources.ts';
import type { ExternalMount } from './messages.ts';

export interface RestoreRoot {
  /** An empty directory of the container's state. */
  readonly place: string;
  readonly root: readonly PreparedMount[];
  readonly mounts: readonly PlannedMount[];
}

/** Where the root is, for criu. */
export function rootIn(place: string): string {
  return join(place, 'root');
}

/** Where the null device is, for criu. */
export function nullDeviceIn(place: string): string {
  return join(place, 'null');
}

/** The bind mounts by the names that they have in the images. */
export function bindsIn({ place, mounts }: RestoreRoot): ExternalMount[] {
  return mounts.flatMap(({ destination, tree }, index) =>
    tree === undefined ? [] : [{ key: destination, value: join(place, String(index)) }],
  );
}

/** In the process that becomes criu. */
export function enterRestoreRoot(sys: Syscalls, plan: RestoreRoot): void {
  sys.unshare(CLONE_NEWNS);
  sys.mountSetattr(AT_FDCWD, '/', AT_RECURSIVE, { set: 0, clear: 0, propagation: MS_SLAVE });
  const attributes = { set: MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, clear: 0 };
  const tmpfs = mountDetached(sys, { type: 'tmpfs', source: 'tmpfs', attributes, superFlags: [], data: ['mode=700'] });
  using(sys, sys.openat(AT_FDCWD, plan.place, O_PATH | O_DIRECTORY | O_NOFOLLOW), (fd) => attach(sys, tmpfs, fd));
  sys.mkdirat(tmpfs, 'root', 0o755);
  sys.mknodat(tmpfs, 'null', S_IFCHR | 0o666, makedev(1, 3));
  sys.fchmodat(tmpfs, 'null', 0o666);
  attachOnHost(sys, plan.root, rootIn(plan.place));
  for (const [index, { tree }] of plan.mounts.entries()) {
    if (tree !== undefined) using(sys, makePlace(sys, tmpfs, String(index), tree), (fd) => attach(sys, tree.fd, fd));
  }
  makeMountPoints(sys, plan);
}

function makePlace(sys: Syscalls, directory: number, name: string, tree: { readonly isDirectory: boolean }): number {
  if (tree.isDirectory) sys.mkdirat(directory, name, 0o755);
  else sys.close(sys.openat(directory, name, O_RDONLY | O_CREAT | O_NOFOLLOW, 0o644));
  return sys.openat(directory, name, O_PATH | O_NOFOLLOW);
}

/**
 * A mount point may be inside an earlier bind mount, so each of these is there until all are made. What is below a tmpfs
 * comes back with its content, and a cgroup tree has no room for more.
 */
function makeMountPoints(sys: Syscalls, { root, mounts }: RestoreRoot): void {
  const rootFd = root.find(({ destination }) => destination === '/')?.fd ?? -1;
  const tmpfs = mounts.filter(({ type }) => type === 'tmpfs').map(({ destination }) => destination);
  const attached: number[] = [];
  try {
    for (const { destination, field, tree, type } of mounts) {
      const isSaved = tmpfs.some((path) => destination.startsWith(`${path}/`));
      if (isSaved || type === 'cgroup' || type === 'cgroup2' || destination === '/') continue;
      try {
        using(
          sys,
          makeTarget(sys, rootFd, destination, tree?.isDirectory === false ? 'file' : 'directory'),
          (target) => {
            if (tree === undefined) return;
            const copy = copyTree(sys, tree.fd, '', true);
            attached.push(copy);
            attach(sys, copy, target);
          },
        );
      } catch (err) {
        throw wrap(err, `${field}: making the mount point ${destination}`);
      }
    }
  } finally {
    for (const fd of attached.toReversed()) {
      sys.umount2(`/proc/self/fd/${fd}`, MNT_DETACH);
      sys.close(fd);
    }
  }
}
