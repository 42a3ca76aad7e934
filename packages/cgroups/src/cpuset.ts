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
 * given what it lacks.
 */
export function inheritCpuset(directory: string, isNew: boolean, sys: GroupFileCalls = linux): void {
  const parent = directory.slice(0, directory.lastIndexOf('/'));
  for (const name of files) {
    const file = `cpuset.${name}`;
    if (!isNew && readGroupFile(directory, file, sys)?.trim() !== '') continue;
    const inherited = readGroupFile(parent, file, sys)?.trim() ?? '';
    if (inherited !== '') writeGroupFile(directory, file, inherited, sys);
  }
}
