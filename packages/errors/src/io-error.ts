/** File system failures as the field's classes: in one place, so that every room says the same of a full disk. */
import { failedPrecondition, GantryError, messageOf, resourceExhausted, wrap } from './error.ts';

/** True for a system error, of Node or of a call of ours, with one of these errno names. */
export function hasErrno(err: unknown, ...names: readonly string[]): boolean {
  return err instanceof Error && 'code' in err && names.includes(String(err.code));
}

/**
 * Says what was being done. A full disk or quota is resource exhausted, a read-only file system failed precondition; anything
 * else stays what it is.
 */
export function ioError(err: unknown, doing: string, path?: string): GantryError {
  if (err instanceof GantryError) return err;
  const details = path === undefined ? {} : { path };
  if (hasErrno(err, 'ENOSPC', 'EDQUOT')) return resourceExhausted(`${doing}: ${messageOf(err)}`, details, err);
  if (hasErrno(err, 'EROFS')) return failedPrecondition(`${doing}: ${messageOf(err)}`, details, err);
  return wrap(err, doing);
}
