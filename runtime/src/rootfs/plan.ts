/** The parent's part of a root file system: what it opens and decides before the child exists. */
import { posix } from 'node:path';
import type { Cgroup, CgroupHierarchy } from '@gantry/cgroups';
import { MS_PRIVATE, MS_SLAVE } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import type { Descriptors } from '../clean-up.ts';
import type { CreateRequest } from '../container.ts';
import { hasHooks } from '../hooks.ts';
import type { RootfsPlan } from './assemble.ts';
import type { CgroupView, V1Hierarchy } from './cgroup-mount.ts';
import { rootPropagation } from './mount-options.ts';
import type { Propagation } from './mount-options.ts';
import { rootOnHost } from './on-host.ts';
import { openRootfs, planMounts } from './sources.ts';

/** Opens the sources; the descriptors are kept in `descriptors`. */
export function planRootfs(
  sys: Syscalls,
  request: CreateRequest,
  hierarchy: CgroupHierarchy,
  cgroup: Cgroup,
  descriptors: Descriptors,
): RootfsPlan {
  const { spec, bundle } = request;
  const { linux = {} } = spec;
  const propagation = rootPropagation(linux.rootfsPropagation);
  return {
    root: openRootfs(sys, request, descriptors),
    mounts: planMounts(sys, spec, bundle, propagation, descriptors),
    propagation,
    cgroup: cgroupView(spec, hierarchy, cgroup),
    devices: linux.devices ?? [],
    bindDevices: (linux.namespaces ?? []).some(({ type }) => type === 'user'),
    maskedPaths: linux.maskedPaths ?? [],
    readonlyPaths: linux.readonlyPaths ?? [],
    isReadonly: spec.root?.readonly ?? false,
    mountLabel: linux.mountLabel === '' ? undefined : linux.mountLabel,
    noPivot: request.noPivot ?? false,
    isOnHost: rootOnHost(request) !== undefined,
    attachAt: rootOnHost(request) ?? hookedRoot(request, propagation),
  };
}

/**
 * Hooks that run before the roots are exchanged find the container's root where the host has it. A mount there must not
 * be seen by the host, nor by a parent mount that tells others.
 */
function hookedRoot({ spec, bundle, rootfs }: CreateRequest, { type, recursive }: Propagation): string | undefined {
  if (!hasHooks(spec, 'prestart', 'createRuntime', 'createContainer')) return undefined;
  if (!recursive || (type !== MS_SLAVE && type !== MS_PRIVATE)) return undefined;
  return posix.resolve(bundle, rootfs.length === 0 ? (spec.root?.path ?? '') : 'rootfs');
}

/** The container's groups as the host sees them. */
export function cgroupView(spec: Spec, { mode, unified, controllers }: CgroupHierarchy, cgroup: Cgroup): CgroupView {
  const paths = cgroup.paths();
  const byMount = new Map<string, V1Hierarchy>();
  for (const [name, { directory: mount }] of controllers) {
    const known = byMount.get(mount);
    byMount.set(mount, {
      mount,
      controllers: [...(known?.controllers ?? []), name],
      directory: paths[name] ?? mount,
    });
  }
  return {
    isUnified: mode === 'unified',
    ownNamespace: (spec.linux?.namespaces ?? []).some(({ type }) => type === 'cgroup'),
    unifiedMount: unified?.directory,
    unifiedDirectory: paths[''],
    hierarchies: [...byMount.values()],
  };
}
