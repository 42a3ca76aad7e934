/** Pause and resume: the control group's freezer. */
import { failedPrecondition } from '@gantry/errors';
import type { ContainerParts } from './container-parts.ts';

/** A process in an uninterruptible wait cannot be frozen before that ends. */
const FREEZE_TIMEOUT_MS = 2000;

/** Returns when every process stands still; deadline exceeded when they do not, and they run on then. */
export function pauseContainer({ cgroup }: ContainerParts): void {
  cgroup.freeze(FREEZE_TIMEOUT_MS);
}

/** Failed precondition when the container is not paused. */
export function resumeContainer({ cgroup }: ContainerParts): void {
  if (!cgroup.isFrozen()) throw failedPrecondition('container is not paused');
  cgroup.thaw(FREEZE_TIMEOUT_MS);
}
