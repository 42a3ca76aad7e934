/**
 * What a container's labels want of its task, and whether it is to be brought about: the restart policies by which nerdctl's
 * `--restart` works.
 *
 *   containerd.io/restart.status               running or stopped; without it nobody looks after the container
 *   containerd.io/restart.policy               no, always (also when absent), on-failure[:MAX], unless-stopped
 *   containerd.io/restart.count                how often it was restarted; kept by the monitor
 *   containerd.io/restart.explicitly-stopped   true when a person stopped it
 *   containerd.io/restart.loguri               where a restarted task writes
 */
import { v1Types } from '@gantry/api';

const prefix = 'containerd.io/restart';

export const restartLabels = {
  status: `${prefix}.status`,
  policy: `${prefix}.policy`,
  count: `${prefix}.count`,
  explicitlyStopped: `${prefix}.explicitly-stopped`,
  logUri: `${prefix}.loguri`,
} as const;

/** Policies that a client may ask for, as the plugin says. */
export const restartPolicies = ['no', 'always', 'on-failure', 'unless-stopped'] as const;

/** A container's task as it is; undefined when there is none. */
export interface TaskNow {
  readonly status: number;
  readonly exitStatus: number;
}

export type Action = 'start' | 'stop' | 'none';

type Labels = Readonly<Record<string, string | undefined>>;

const { CREATED, PAUSED, PAUSING, RUNNING, STOPPED, UNKNOWN } = v1Types.Status;

/** How often the container was restarted, as its label says. */
export function restartCount(labels: Labels): number {
  const count = Number(labels[restartLabels.count] ?? '0');
  return Number.isSafeInteger(count) && count >= 0 ? count : 0;
}

/** What is to be done for a container with these labels. A policy that is none restarts nothing. */
export function actionFor(labels: Labels, task: TaskNow | undefined): Action {
  const wanted = labels[restartLabels.status];
  if (wanted === 'stopped') return task === undefined || task.status === STOPPED ? 'none' : 'stop';
  if (wanted !== 'running') return 'none';
  // A task that was made and not started is its client's, who is about to; one whose shim does not answer is nobody's to replace.
  const busy: readonly number[] = [RUNNING, PAUSED, PAUSING, CREATED, UNKNOWN];
  if (task !== undefined && busy.includes(task.status)) return 'none';
  return mayRestart(labels, task) ? 'start' : 'none';
}

function mayRestart(labels: Labels, task: TaskNow | undefined): boolean {
  const policy = labels[restartLabels.policy] ?? 'always';
  if (policy === '' || policy === 'always') return true;
  if (policy === 'unless-stopped') return labels[restartLabels.explicitlyStopped] !== 'true';
  const [, max] = /^on-failure(?::(\d+))?$/.exec(policy) ?? [undefined, undefined];
  if (!policy.startsWith('on-failure') || (policy !== 'on-failure' && max === undefined)) return false;
  // Of a task that is not there nobody knows how it ended.
  if (task?.exitStatus === 0) return false;
  return max === undefined || Number(max) === 0 || restartCount(labels) < Number(max);
}
