/**
 * The control group of a container that has none of its own, because whoever made it may not make one: its processes
 * stay in their maker's. Nothing is limited, counted or paused.
 */
import { failedPrecondition } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import type { Cgroup, CgroupStats, OomWatch } from './cgroup.ts';
import type { CgroupHierarchy } from './hierarchy.ts';
import { noOomWatch } from './oom.ts';

export function absentCgroup({ mode }: CgroupHierarchy): Cgroup {
  return {
    path: '',
    mode,
    create: nothing,
    exists: () => false,
    addProcess: nothing,
    joinSelf: nothing,
    birthplace: () => undefined,
    cloneIntoFd: () => undefined,
    apply: nothing,
    update() {
      throw missing('limits cannot be changed');
    },
    pids: () => [],
    freeze() {
      throw missing('it cannot be paused');
    },
    thaw: nothing,
    isFrozen: () => false,
    killAll: () => 0,
    stats(): CgroupStats {
      throw missing('there are no statistics');
    },
    oomKills: () => 0,
    watchOom: (): OomWatch => noOomWatch,
    remove: nothing,
    paths: () => ({}),
  };
}

function nothing(): void {
  // Whatever it is, there is no group to do it to.
}

function missing(consequence: string): GantryError {
  return failedPrecondition(`the container has no control group of its own: ${consequence}`);
}
