/** What this command's own exit status says, beside passing on the container's. */
import { messageOf } from '@gantry/errors';

export const gantryFailed = 125;
export const notExecutable = 126;
export const commandNotFound = 127;
/** As a shell shows SIGPIPE. */
export const closedPipe = 141;

/**
 * The status for a process that could not be started, by what the runtime says about its execve. A missing bind
 * source is also "no such file", but not of the exec.
 */
export function startFailureStatus(err: unknown): number {
  const text = messageOf(err);
  if (!/\bexec\b/.test(text)) return gantryFailed;
  if (/executable file not found|no such file or directory/.test(text)) return commandNotFound;
  if (/permission denied|exec format error|is a directory/.test(text)) return notExecutable;
  return gantryFailed;
}
