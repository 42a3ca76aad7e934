/**
 * Giving birth to a process of a container in such a way that the container cannot look into it.
 *
 * The child is a copy of this process: its memory, its descriptors and /proc/PID/exe (the host's node binary) must not
 * be open to whoever shares its pid namespace. So it is non-dumpable from its first instruction, which closes ptrace,
 * /proc/PID/{exe,fd,mem,…} to all without CAP_SYS_PTRACE on the host (CVE-2016-9962, CVE-2019-5736). execve of the
 * user's program ends that state.
 */
import { wrap } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import { isErrno, PR_GET_DUMPABLE, PR_SET_DUMPABLE } from '@gantry/libc';
import type { ProcessCalls } from '@gantry/libc';

/** clone(2) with the child non-dumpable; the calling process is as before. Returns 0 in the child. */
export function hiddenClone(sys: Pick<ProcessCalls, 'clone' | 'prctl'>, flags: number, cgroupFd?: number): number {
  const before = sys.prctl(PR_GET_DUMPABLE);
  if (before !== 0) sys.prctl(PR_SET_DUMPABLE, 0n);
  let pid = -1;
  try {
    pid = sys.clone(flags, cgroupFd);
    return pid;
  } finally {
    // 2 ("readable by root only") can be inherited but not be set.
    if (pid !== 0 && before === 1) sys.prctl(PR_SET_DUMPABLE, 1n);
  }
}

/** What is said of a process that could not be made; resource exhausted when there was no room for it. */
export function birthError(err: unknown): GantryError {
  const code = isErrno(err, 'EAGAIN', 'ENOMEM') ? 'resource exhausted' : 'unknown';
  return wrap(err, 'unable to start container process', code);
}
