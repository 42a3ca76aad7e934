/** From a configuration, or from what `paths()` said, to the group of a systemd unit. */
import { invalidArgument } from '@gantry/errors';
import type { Cgroup } from '../cgroup.ts';
import type { CgroupHierarchy } from '../hierarchy.ts';
import { annotatedProperties } from './annotations.ts';
import { SystemdManager } from './manager.ts';
import { SystemdCgroup, unitKey } from './systemd-cgroup.ts';
import { slicePath, unitPlace } from './unit-name.ts';

export interface SystemdRequest {
  /** `linux.cgroupsPath`: `slice:prefix:name`, or empty. */
  readonly unsafePath: string;
  /** The container's. */
  readonly id: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** By the manager of the calling user instead of the system's. */
  readonly user: boolean;
}

/**
 * The group of a unit that may not be there yet; `openPath` opens the group at a path. Nothing is made, but systemd is asked
 * where its units are: failed precondition where it does not run. Throws invalid argument for a path or an annotation.
 */
export function openUnit(
  hierarchy: CgroupHierarchy,
  { unsafePath, id, annotations = {}, user }: SystemdRequest,
  openPath: (path: string) => Cgroup,
): Cgroup {
  const kind = user ? 'user' : 'system';
  const { unit, slice } = unitPlace(unsafePath, id, user);
  const properties = annotatedProperties(annotations);
  const below = slicePath(slice);
  const manager = SystemdManager.connect(hierarchy.sys, kind);
  try {
    const path = `${manager.ownGroup()}${unit.endsWith('.slice') ? slicePath(unit) : `${below}/${unit}`}`;
    return new SystemdCgroup(hierarchy.sys, openPath(path), { kind, unit, slice, properties });
  } finally {
    manager.close();
  }
}

/** The group whose `paths()` had `unitKey`; `inner` is the group of the other paths. */
export function reopenUnit({ sys }: CgroupHierarchy, inner: Cgroup, unsafeUnit: string): Cgroup {
  const [, kind, unit = ''] = /^(system|user):([A-Za-z0-9:_.\\-]+\.(?:scope|slice))$/.exec(unsafeUnit) ?? [];
  if (kind !== 'system' && kind !== 'user') throw invalidArgument(`${unitKey} ${JSON.stringify(unsafeUnit)}`);
  return new SystemdCgroup(sys, inner, { kind, unit });
}
