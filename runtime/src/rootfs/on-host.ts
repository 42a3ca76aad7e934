/**
 * The root of a container that has no mount namespace of its own: it is mounted on its directory of the host, for
 * everybody to see, with the container's other mounts below it. Whoever deletes the container takes all of it away by
 * taking away the root.
 */
import { posix } from 'node:path';
import { wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  isErrno,
  MNT_DETACH,
  MS_PRIVATE,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  UMOUNT_NOFOLLOW,
} from '@gantry/libc';
import type { MountCalls } from '@gantry/libc';
import type { CreateRequest } from '../container.ts';
import { namespaceOf } from '../namespaces/plan.ts';
import { attach, setPropagation } from './detached.ts';
import type { FileSystemCalls } from './filesystems.ts';
import { makeDirectory, using } from './resolve.ts';
import type { PreparedMount } from './sources.ts';

/** Where the root of such a container goes; undefined for one with mounts of its own. */
export function rootOnHost({ spec, bundle, rootfs }: CreateRequest): string | undefined {
  if (namespaceOf(spec, 'mount') !== undefined) return undefined;
  return posix.resolve(bundle, rootfs.length === 0 ? (spec.root?.path ?? '') : 'rootfs');
}

/** Attaches the mounts that make the root. What is mounted in it later goes nowhere else. */
export function attachOnHost(sys: FileSystemCalls, mounts: readonly PreparedMount[], path: string): void {
  let root = -1;
  for (const { fd, destination } of mounts) {
    const target =
      root < 0 ? sys.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_NOFOLLOW) : makeDirectory(sys, root, destination);
    using(sys, target, () => attach(sys, fd, target));
    if (destination === '/') root = fd;
  }
  // A mount on a shared one is shared itself.
  setPropagation(sys, root, { type: MS_PRIVATE, recursive: true });
}

/** Takes it away with everything in it. Gone already is success. */
export function detachFromHost(sys: Pick<MountCalls, 'umount2'>, path: string): void {
  try {
    sys.umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
  } catch (err) {
    if (!isErrno(err, 'EINVAL', 'ENOENT')) throw wrap(err, 'unmounting the root of the container');
  }
}
