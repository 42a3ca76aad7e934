/** From a path in a configuration (or the paths in a state file) to the group it means. */
import { invalidArgument } from '@gantry/errors';
import { absentCgroup } from './absent.ts';
import { CgroupV1 } from './cgroup-v1.ts';
import type { GroupPlace } from './cgroup-v1.ts';
import { CgroupV2 } from './cgroup-v2.ts';
import type { Cgroup } from './cgroup.ts';
import type { CgroupHierarchy, CgroupMount } from './hierarchy.ts';
import { ownCgroupPaths } from './own-paths.ts';
import { pathComponents } from './path.ts';
import { openUnit, reopenUnit } from './systemd/open.ts';
import type { SystemdRequest } from './systemd/open.ts';
import { unitKey } from './systemd/systemd-cgroup.ts';

/**
 * Opens the group of `linux.cgroupsPath`: an absolute path is below the root of every hierarchy, a relative one below
 * the calling process's own group of each. Nothing is touched. Throws invalid argument for a path that leads elsewhere.
 */
export function openCgroup(hierarchy: CgroupHierarchy, unsafePath: string): Cgroup {
  const components = pathComponents(unsafePath);
  if (unsafePath.startsWith('/')) return groupAt(hierarchy, `/${components.join('/')}`, () => components);
  const own = ownCgroupPaths();
  return groupAt(hierarchy, components.join('/'), (name, { root }) => [
    ...componentsBelow(root, own.get(name) ?? '/'),
    ...components,
  ]);
}

/**
 * Opens the group that systemd keeps as a unit: see `openUnit`. For an ordinary user's own manager `hierarchy` must be one
 * that he may use.
 */
export function openSystemdCgroup(hierarchy: CgroupHierarchy, request: SystemdRequest): Cgroup {
  return openUnit(hierarchy, request, (path) => openCgroup(hierarchy, path));
}

/**
 * Opens the group whose `paths()` these are; none is the absent one. Throws invalid argument when they are not below this
 * host's hierarchies.
 */
export function cgroupFromPaths(hierarchy: CgroupHierarchy, unsafePaths: Readonly<Record<string, string>>): Cgroup {
  const { [unitKey]: unsafeUnit, ...unsafeDirectories } = unsafePaths;
  if (unsafeUnit !== undefined) return reopenUnit(hierarchy, cgroupFromPaths(hierarchy, unsafeDirectories), unsafeUnit);
  if (Object.keys(unsafePaths).length === 0) return absentCgroup(hierarchy);
  let path = '';
  const locate = (name: string, { directory }: CgroupMount): string[] => {
    const unsafeDirectory = Object.hasOwn(unsafePaths, name) ? unsafePaths[name] : undefined;
    if (unsafeDirectory?.startsWith(`${directory}/`) !== true) {
      throw invalidArgument(`no control group directory below ${directory}: ${JSON.stringify(unsafeDirectory)}`);
    }
    const components = pathComponents(unsafeDirectory.slice(directory.length));
    path = `/${components.join('/')}`;
    return components;
  };
  // The path is that of the last hierarchy; they agree unless the group is below its maker's own.
  for (const [name, mount] of hierarchy.controllers) locate(name, mount);
  if (hierarchy.unified !== undefined) locate('', hierarchy.unified);
  return groupAt(hierarchy, path, locate);
}

function groupAt(
  hierarchy: CgroupHierarchy,
  path: string,
  locate: (name: string, mount: CgroupMount) => readonly string[],
): Cgroup {
  const { mode, unified, controllers, sys } = hierarchy;
  if (mode === 'unified') {
    if (unified === undefined) throw invalidArgument('a unified hierarchy without a mount');
    return new CgroupV2(path, sys, unified.directory, locate('', unified));
  }
  const places = new Map<string, GroupPlace>();
  for (const [name, mount] of controllers) {
    places.set(name, { mount: mount.directory, components: locate(name, mount) });
  }
  const tracked = unified && { mount: unified.directory, components: locate('', unified) };
  return new CgroupV1(path, sys, places, tracked);
}

/** The part of a process's group path that lies below the mount's root. */
function componentsBelow(root: string, path: string): string[] {
  const base = root === '/' ? '' : root;
  const below = path === base || path.startsWith(`${base}/`) ? path.slice(base.length) : path;
  // The root of a hierarchy is a fine place to start from.
  return below === '' || below === '/' ? [] : pathComponents(below);
}
