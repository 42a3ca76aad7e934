/** The error for a process that could not be made. */
import { resourceExhausted, unavailable } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import { isErrno } from '@gantry/libc';

/** Resource exhausted when the machine, the user or the control group has no room for one more; unavailable otherwise. */
export function noProcess(err: Error): GantryError {
  const noRoom = isErrno(err, 'EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE');
  const what = `no process can be had for a shim: ${err.message}`;
  return noRoom ? resourceExhausted(what, {}, err) : unavailable(what, {}, err);
}
