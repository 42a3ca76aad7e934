/** Which CPUs and memory nodes may be used. The files have the same names in v1 and v2. */
import type { LinuxCpu } from '@gantry/oci';
import { linux } from '@gantry/libc';
import { readGroupFile, writeGroupFile, writeLimit } from './group-file.ts';
import type { GroupFileCalls } from './group-file.ts';

const files = ['cpus', 'mems'] as const;

export function writeCpuset(directory: string, cpu: LinuxCpu): void {
  for (const name of files) {
    const value = cpu[name];
    if (value !== undefined && value !== '') {
      writeLimit(directory, `cpuset.${name}`, value, `linux.resources.cpu.${name}`);
    }
  }
}

/**
 * A new v1 cpuset is empty and nobody can enter it: it gets what its parent has. One that is not known to be new is only
 * given what it lacks. A parent may be as new, made a moment ago for another container that has not come to this yet: it
 * is given what it lacks first. The root of the hierarchy lacks nothing.
 */
export function inheritCpuset(directory: string, isNew: boolean, sys: GroupFileCalls = linux): void {
  for (const name of files) {
    const file = `cpuset.${name}`;
    if (isNew || readGroupFile(directory, file, sys)?.trim() === '') inherit(directory, file, sys);
  }
}

/** Gives the directory what its nearest ancestor has that has something, and those in between; returns that. */
function inherit(directory: string, file: string, sys: GroupFileCalls): string {
  const parent = directory.slice(0, directory.lastIndexOf('/'));
  const found = readGroupFile(parent, file, sys)?.trim();
  const inherited = found === '' ? inherit(parent, file, sys) : (found ?? '');
  if (inherited !== '') writeGroupFile(directory, file, inherited, sys);
  return inherited;
}
