/** Which CPUs and memory nodes may be used. The files have the same names in v1 and v2. */
import type { LinuxCpu } from '@gantry/oci';
import { readGroupFile, writeGroupFile, writeLimit } from './group-file.ts';

const files = ['cpus', 'mems'] as const;

export function writeCpuset(directory: string, cpu: LinuxCpu): void {
  for (const name of files) {
    const value = cpu[name];
    if (value !== undefined && value !== '') {
      writeLimit(directory, `cpuset.${name}`, value, `linux.resources.cpu.${name}`);
    }
  }
}

/** A new v1 cpuset is empty and nobody can enter it: it gets what its parent has. */
export function inheritCpuset(directory: string): void {
  const parent = directory.slice(0, directory.lastIndexOf('/'));
  for (const name of files) {
    const file = `cpuset.${name}`;
    if (readGroupFile(directory, file)?.trim() !== '') continue;
    const inherited = readGroupFile(parent, file)?.trim() ?? '';
    if (inherited !== '') writeGroupFile(directory, file, inherited);
  }
}
