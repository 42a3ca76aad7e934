/** The processes of a group and of everything below it. */
import { childGroups } from './directories.ts';
import { readGroupFile } from './group-file.ts';

/** Pids, each once. Empty when the group is gone. */
export function groupMembers(directory: string): number[] {
  const pids = new Set<number>();
  collect(directory, pids);
  return [...pids];
}

function collect(directory: string, pids: Set<number>): void {
  // A threaded v2 group refuses to list processes; its threads are listed instead.
  const text = readGroupFile(directory, 'cgroup.procs') ?? readGroupFile(directory, 'cgroup.threads') ?? '';
  for (const line of text.split('\n')) {
    // A process of another pid namespace shows as 0.
    const pid = Number(line);
    if (pid > 0) pids.add(pid);
  }
  for (const child of childGroups(directory)) collect(`${directory}/${child}`, pids);
}
