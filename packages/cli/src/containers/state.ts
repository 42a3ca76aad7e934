/** What `ps` says about a container. */
import { readFileSync } from 'node:fs';
import { statusName, toDate } from '@gantry/client';
import type { TaskInfo } from '@gantry/client';
import { ago, duration } from '../output/units.ts';

/** Unit of the start time in /proc/PID/stat; fixed by the kernel's interface on every Linux port. */
const ticksPerSecond = 100;

/** `Up 5 minutes`, `Exited (0) 2 hours ago`, `Created`. */
export function describeState(task: TaskInfo | undefined, now = Date.now()): string {
  const status = task === undefined ? 'created' : statusName(task.status);
  if (task === undefined || status === 'created') return 'Created';
  if (status === 'stopped') return `Exited (${task.exitStatus}) ${ago(toDate(task.exitedAt), now)}`.trimEnd();
  if (status === 'unknown') return 'Unknown';
  const startedAt = processStartedAt(task.pid);
  const up = startedAt === undefined ? 'Up' : `Up ${duration(now - startedAt.getTime())}`;
  return status === 'running' ? up : `${up} (${status})`;
}

/** When a local process started; undefined when it is gone or not visible from here. */
export function processStartedAt(pid: number): Date | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command may hold blanks and parentheses; field 22 is the 20th after the last closing one (proc(5)).
    const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    const bootSeconds = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]);
    const date = new Date((bootSeconds + ticks / ticksPerSecond) * 1000);
    return Number.isNaN(date.getTime()) ? undefined : date;
  } catch {
    return undefined;
  }
}
