/** The parent's part of a root file system: what it opens and decides before the child exists. */
import type { Cgroup, CgroupHierarchy } from '@gantry/cgroups';
import type { Spec } from '@gantry/oci';
import type { Descriptors } from '../clean-up.ts';
import type { CreateRequest } from '../container.ts';
import type { RootfsPlan } from './assemble.ts';
import type { CgroupView, V1Hierarchy } from './cgroup-mount.ts';
import { rootPropagation } from './mount-options.ts';
import { openRootfs, planMounts } from './sources.ts';
import type { SourceCalls } from './sources.ts';

/** Opens the sources; the descriptors are kept in `descriptors`. */
export function planRootfs(
  sys: SourceCalls,
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
    mounts: planMounts(sys, spec.mounts ?? [], bundle, propagation, descriptors),
    propagation,
    cgroup: cgroupView(spec, hierarchy, cgroup),
    devices: linux.devices ?? [],
    bindDevices: (linux.namespaces ?? []).some(({ type }) => type === 'user'),
    maskedPaths: linux.maskedPaths ?? [],
    readonlyPaths: linux.readonlyPaths ?? [],
    isReadonly: spec.root?.readonly ?? false,
    noPivot: request.noPivot ?? false,
  };
}

function cgroupView(spec: Spec, { mode, unified, controllers }: CgroupHierarchy, cgroup: Cgroup): CgroupView {
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
