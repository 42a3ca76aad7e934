/** The error every system call wrapper throws: which call, which errno, and what it was applied to. */

/**
 * A failed system call, worded as Node words its own: `EBUSY: device or resource busy, umount2 '/mnt'`.
 * `code` is the errno's name, so that `err.code === 'ENOENT'` reads the same as for errors of `node:fs`.
 */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  /** The errno's name, e.g. `EBUSY`. */
  readonly code: string;
  /** The errno's number as the kernel gave it. */
  readonly errno: number;
  readonly syscall: string;
  /** What the call was applied to: a path, `fd 7`, `pid 12`. */
  readonly subject: string;

  constructor(syscall: string, errno: number, code: string, description: string, subject: string) {
    super(`${code}: ${description}, ${syscall}${subject === '' ? '' : ` '${subject}'`}`);
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
    this.subject = subject;
  }
}

/** True for a SyscallError (or a Node system error) with one of these errno names. */
export function isErrno(err: unknown, ...codes: readonly string[]): boolean {
  return err instanceof Error && 'code' in err && codes.includes(String(err.code));
}
