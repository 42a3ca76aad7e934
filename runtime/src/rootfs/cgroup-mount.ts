/** The mount type `cgroup`: what a container sees of its control groups, on v1, hybrid and v2 hosts. */
import { basename } from 'node:path';
import { wrap } from '@gantry/errors';
import { AT_FDCWD, isErrno, MOUNT_ATTR_RDONLY } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import { labelOptions } from '../process/selinux.ts';
import { attach, copyTree, mountDetached, setAttributes, setPropagation } from './detached.ts';
import type { FileSystemCalls } from './filesystems.ts';
import type { PlannedMount } from './sources.ts';
import { makeDirectory, using } from './resolve.ts';

export type CgroupMountCalls = FileSystemCalls & Pick<FileCalls, 'mkdirat' | 'symlinkat'>;

/** The container's groups as the host sees them. */
export interface CgroupView {
  readonly isUnified: boolean;
  /** The container has a cgroup namespace of its own and is in it already. */
  readonly ownNamespace: boolean;
  /** Mount point of the v2 tree on the host. */
  readonly unifiedMount: string | undefined;
  /** The container's own directory in the v2 tree. */
  readonly unifiedDirectory: string | undefined;
  /** v1: every hierarchy with its mount point, its controllers, and the container's directory in it. */
  readonly hierarchies: readonly V1Hierarchy[];
}

export interface V1Hierarchy {
  readonly mount: string;
  readonly controllers: readonly string[];
  readonly directory: string;
}

export function mountCgroup(
  sys: CgroupMountCalls,
  root: number,
  mount: PlannedMount,
  view: CgroupView,
  label: string | undefined,
): void {
  try {
    if (view.isUnified) mountUnified(sys, root, mount, view);
    else mountControllers(sys, root, mount, view, label);
  } catch (err) {
    throw wrap(err, `error mounting "cgroup" to rootfs at "${mount.destination}"`);
  }
}

function mountUnified(sys: CgroupMountCalls, root: number, mount: PlannedMount, view: CgroupView): void {
  using(sys, makeDirectory(sys, root, mount.destination), (target) => {
    const fd = unifiedTree(sys, mount, view);
    using(sys, fd, () => {
      attach(sys, fd, target);
      for (const propagation of mount.options.propagation) setPropagation(sys, fd, propagation);
    });
  });
}

function unifiedTree(sys: CgroupMountCalls, { options }: PlannedMount, view: CgroupView): number {
  const { attributes } = options;
  try {
    return mountDetached(sys, { type: 'cgroup2', source: 'cgroup', attributes, superFlags: [], data: options.data });
  } catch (err) {
    const { cause } = err as Error;
    if (!isErrno(cause, 'EPERM', 'EBUSY')) throw err;
  }
  // The tree belongs to another user namespace: show a part of the host's mount of it.
  const source = view.ownNamespace ? view.unifiedDirectory : view.unifiedMount;
  const fd = copyTree(sys, AT_FDCWD, source ?? '/sys/fs/cgroup', false);
  setAttributes(sys, fd, attributes, true);
  return fd;
}

/** A tmpfs with one directory a hierarchy, and links for controllers that are mounted together. */
function mountControllers(
  sys: CgroupMountCalls,
  root: number,
  mount: PlannedMount,
  view: CgroupView,
  label: string | undefined,
): void {
  const { attributes, propagation } = mount.options;
  const writable = { ...attributes, set: attributes.set & ~MOUNT_ATTR_RDONLY };
  const tmpfs = mountDetached(sys, {
    type: 'tmpfs',
    source: 'tmpfs',
    attributes: writable,
    superFlags: [],
    data: ['mode=755', ...labelOptions('tmpfs', label)],
  });
  using(sys, tmpfs, () => {
    using(sys, makeDirectory(sys, root, mount.destination), (target) => attach(sys, tmpfs, target));
    for (const hierarchy of view.hierarchies) mountHierarchy(sys, tmpfs, hierarchy, mount, view);
    setAttributes(sys, tmpfs, attributes, false);
    for (const change of propagation) setPropagation(sys, tmpfs, change);
  });
}

function mountHierarchy(
  sys: CgroupMountCalls,
  tmpfs: number,
  { mount: hostMount, controllers, directory }: V1Hierarchy,
  { options }: PlannedMount,
  { ownNamespace }: CgroupView,
): void {
  const name = basename(hostMount);
  sys.mkdirat(tmpfs, name, 0o755);
  const data = [...controllers];
  const { attributes } = options;
  const fd = ownNamespace
    ? mountDetached(sys, { type: 'cgroup', source: 'cgroup', attributes, superFlags: [], data })
    : copyTree(sys, AT_FDCWD, directory, false);
  using(sys, fd, () => {
    if (!ownNamespace) setAttributes(sys, fd, attributes, false);
    using(sys, makeDirectory(sys, tmpfs, name), (target) => attach(sys, fd, target));
  });
  for (const controller of controllers) {
    if (controller === name || controller.startsWith('name=')) continue;
    sys.symlinkat(name, tmpfs, controller);
  }
}
