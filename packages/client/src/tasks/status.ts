/** What a task's state number means. */
import { v1Types } from '@gantry/api';

const { Status } = v1Types;

/** The states of a task, in the words of the API. */
export type TaskStatus = 'unknown' | 'created' | 'running' | 'stopped' | 'paused' | 'pausing';

const names: ReadonlyMap<number, TaskStatus> = new Map([
  [Status.CREATED, 'created'],
  [Status.RUNNING, 'running'],
  [Status.STOPPED, 'stopped'],
  [Status.PAUSED, 'paused'],
  [Status.PAUSING, 'pausing'],
]);

export function statusName(status: number): TaskStatus {
  return names.get(status) ?? 'unknown';
}

/** True while the user's process exists. */
export function isLive(task: { readonly status: number }): boolean {
  return ['running', 'paused', 'pausing'].includes(statusName(task.status));
}
