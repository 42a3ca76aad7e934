/** Traffic class and per-interface priorities: controllers of v1 without a counterpart in v2. */
import type { LinuxNetwork } from '@gantry/oci';
import { writeLimit } from './group-file.ts';

export function writeNetClass(directory: string, classId: number): void {
  writeLimit(directory, 'net_cls.classid', String(classId), 'linux.resources.network.classID');
}

export function writeNetPriorities(directory: string, priorities: NonNullable<LinuxNetwork['priorities']>): void {
  for (const [index, { name, priority }] of priorities.entries()) {
    const field = `linux.resources.network.priorities[${index}]`;
    writeLimit(directory, 'net_prio.ifpriomap', `${name} ${priority}`, field);
  }
}
