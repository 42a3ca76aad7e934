/** The processes of a group and of everything below it. */
import { linux } from '@gantry/libc';
import { childGroups, hasChildren } from './directories.ts';
import { readGroupFile } from './group-file.ts';
import type { CgroupCalls } from './hierarchy.ts';

type Calls = Pick<CgroupCalls, 'fstatatIfPresent' | 'openat' | 'openatIfPresent' | 'read' | 'write' | 'close'>;

/** Pids, each once. Empty when the group is gone. */
export function groupMembers(directory: string, sys: Calls = linux): number[] {
  const pids = new Set<number>();
  collect(sys, directory, pids);
  return [...pids];
}

function collect(sys: Calls, directory: string, pids: Set<number>): void {
  // A threaded v2 group refuses to list processes; its threads are listed instead.
  const text = readGroupFile(directory, 'cgroup.procs', sys) ?? readGroupFile(directory, 'cgroup.threads', sys) ?? '';
  for (const line of text.split('\n')) {
    // A process of another pid namespace shows as 0.
    const pid = Number(line);
    if (pid > 0) pids.add(pid);
  }
  if (!hasChildren(sys, directory)) return;
  for (const child of childGroups(directory)) collect(sys, `${directory}/${child}`, pids);
}
