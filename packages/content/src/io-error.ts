/** File system failures as the field's classes. */
import { GantryError, messageOf, resourceExhausted, wrap } from '@gantry/errors';

/** True for a Node system error with this errno name. */
export function hasErrno(err: unknown, ...names: readonly string[]): boolean {
  return err instanceof Error && 'code' in err && names.includes(String(err.code));
}

/** Says what was being done; a full disk or quota becomes resource exhausted. */
export function ioError(err: unknown, doing: string, path: string): GantryError {
  if (err instanceof GantryError) return err;
  if (hasErrno(err, 'ENOSPC', 'EDQUOT')) return resourceExhausted(`${doing}: ${messageOf(err)}`, { path }, err);
  return wrap(err, doing);
}
