/** `exec --cgroup`: a group below the container's own, for all controllers or (v1) for some. */
import { existsSync } from 'node:fs';
import { cgroupFromPaths, systemdUnitKey } from '@gantry/cgroups';
import type { Cgroup } from '@gantry/cgroups';
import { invalidArgument, notFound } from '@gantry/errors';
import { hostCgroups } from '../host-cgroups.ts';
import type { StoredContainer } from './stored-container.ts';

/**
 * `values` are `[CONTROLLER[,CONTROLLER]:]PATH` each. A path is made of components and never leads up: `..` and a
 * sibling that only begins with the same letters are not below. The group must be there.
 */
export function subCgroup({ state }: StoredContainer, values: readonly string[]): Cgroup | undefined {
  if (values.length === 0) return undefined;
  const { [systemdUnitKey]: _, ...own } = state?.cgroupPaths ?? {};
  const paths: Record<string, string> = { ...own };
  for (const value of values) {
    const [, controllers, path = ''] = /^(?:([^:/]*):)?(.*)$/s.exec(value) ?? [];
    const names = controllers === undefined ? Object.keys(paths) : controllers.split(',');
    for (const name of names) {
      const top = Object.hasOwn(own, name) ? own[name] : undefined;
      if (top === undefined) throw invalidArgument(`unknown controller ${name} in --cgroup ${value}`);
      const directory = [top, ...components(path, value)].join('/');
      if (existsSync(directory)) paths[name] = directory;
      // A v2 tree beside v1 controllers only keeps track; the group need not be there too.
      else if (name !== '' || hostCgroups().mode === 'unified') throw notFound(`no such cgroup: ${directory}`);
    }
  }
  return cgroupFromPaths(hostCgroups(), paths);
}

function components(path: string, value: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw invalidArgument(`bad sub cgroup path: ${value}`);
  return parts;
}
