/** File system failures as the field's classes. */
import { GantryError, messageOf, resourceExhausted, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';

/** True for a system error with one of these errno names. */
export const hasErrno = isErrno;

/** Says what was being done; a full disk or quota becomes resource exhausted. */
export function ioError(err: unknown, doing: string, path: string): GantryError {
  if (err instanceof GantryError) return err;
  if (isErrno(err, 'ENOSPC', 'EDQUOT')) return resourceExhausted(`${doing}: ${messageOf(err)}`, { path }, err);
  return wrap(err, doing);
}
