/** The number of tasks. The file has the same name in v1 and v2. */
import { linux } from '@gantry/libc';
import { toInt64 } from '@gantry/oci';
import type { LinuxPids } from '@gantry/oci';
import { writeLimit } from './group-file.ts';
import type { GroupFileCalls } from './group-file.ts';

/** Negative is unlimited. 0 becomes 1 when a container is made (one process is the least); in an update it is "unchanged". */
export function writePids(directory: string, pids: LinuxPids, isUpdate: boolean, sys: GroupFileCalls = linux): void {
  if (pids.limit === undefined || (pids.limit === 0 && isUpdate)) return;
  const limit = toInt64(pids.limit);
  const text = limit < 0n ? 'max' : String(limit === 0n ? 1n : limit);
  writeLimit(directory, 'pids.max', text, 'linux.resources.pids.limit', sys);
}
