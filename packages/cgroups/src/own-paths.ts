/** In which groups a process is: the parser of /proc/PID/cgroup (cgroups(7)). */
import { readFileSync } from 'node:fs';
import { notFound, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';

/**
 * Controller name (`name=systemd` for named hierarchies, `''` for the v2 tree) → path of the process's group, as the
 * caller's cgroup namespace shows it. Throws not found when there is no such process.
 */
export function ownCgroupPaths(pid: number | 'self' = 'self'): ReadonlyMap<string, string> {
  try {
    return parseCgroupFile(readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ESRCH')) throw notFound(`process ${pid}`, { pid }, err);
    throw wrap(err, `reading the groups of process ${pid}`);
  }
}

/** Lines are `id:controller,…:path`; the path may contain colons. */
export function parseCgroupFile(text: string): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (match === null) continue;
    const [, controllers = '', path = '/'] = match;
    for (const name of controllers.split(',')) paths.set(name, path);
  }
  return paths;
}
