/**
 * Reading and writing the files of a control group. A file that is not there reads as undefined (a controller or a
 * kernel without that feature); a write that fails names the resource's field and the file.
 */
import { readdirSync } from 'node:fs';
import { GantryError, messageOf } from '@gantry/errors';
import type { ErrorCode } from '@gantry/errors';
import { AT_FDCWD, isErrno, linux, O_RDONLY, O_TRUNC, O_WRONLY } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';

/** What these functions do with files; the host's own unless a test or a warm-up gives another. */
export type GroupFileCalls = Pick<FileCalls, 'openat' | 'openatIfPresent' | 'read' | 'write' | 'close'>;

/** Never O_CREAT: creating a file in a control group file system fails with a misleading EPERM. */
const writeFlags = O_WRONLY | O_TRUNC;

/** The kernel fills one page a read. */
const scratch = Buffer.alloc(4096);

/** The text of a file, or undefined when the file or the group is not there or the file answers nothing. */
export function readGroupFile(directory: string, file: string, sys: GroupFileCalls = linux): string | undefined {
  try {
    const fd = sys.openatIfPresent(AT_FDCWD, `${directory}/${file}`, O_RDONLY);
    if (fd === undefined) return undefined;
    try {
      return readAll(sys, fd);
    } finally {
      sys.close(fd);
    }
  } catch (err) {
    // ENODEV: the group was removed while the file was open. EOPNOTSUPP: not for this type of group.
    if (isErrno(err, 'ENODEV', 'EOPNOTSUPP', 'ENOTSUP')) return undefined;
    throw err;
  }
}

/** These files are ASCII, so that no character is cut in two. A short read is no sign of the end. */
function readAll(sys: GroupFileCalls, fd: number): string {
  let text = '';
  for (;;) {
    const length = sys.read(fd, scratch) ?? 0;
    if (length === 0) return text;
    text += scratch.toString('latin1', 0, length);
  }
}

/** Writes a file in one write(2). */
export function writeGroupFile(directory: string, file: string, text: string, sys: GroupFileCalls = linux): void {
  const fd = sys.openat(AT_FDCWD, `${directory}/${file}`, writeFlags);
  try {
    sys.write(fd, Buffer.from(text));
  } finally {
    sys.close(fd);
  }
}

/** Writes a limit; what the kernel refuses becomes an error that names `field` (`linux.resources.memory.limit`). */
export function writeLimit(
  directory: string,
  file: string,
  text: string,
  field: string,
  sys: GroupFileCalls = linux,
): void {
  try {
    writeGroupFile(directory, file, text, sys);
  } catch (err) {
    throw limitError(err, file, text, field);
  }
}

/** The error of a limit that could not be written. */
export function limitError(err: unknown, file: string, text: string, field: string): GantryError {
  const details = { field, file };
  if (isErrno(err, 'ENOENT')) {
    return new GantryError('failed precondition', `${field}: this host has no ${file}`, { cause: err, details });
  }
  const value = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  const message = `${field}: writing ${JSON.stringify(value)} to ${file}: ${messageOf(err)}`;
  return new GantryError(limitErrorCode(err), message, { cause: err, details });
}

function limitErrorCode(err: unknown): ErrorCode {
  if (isErrno(err, 'EINVAL', 'ERANGE', 'ENXIO', 'E2BIG')) return 'invalid argument';
  if (isErrno(err, 'EBUSY', 'EOPNOTSUPP', 'ENOTSUP', 'ENODEV', 'ENOSPC')) return 'failed precondition';
  if (isErrno(err, 'EPERM', 'EACCES', 'EROFS')) return 'permission denied';
  return 'unknown';
}

/** A decimal number of a file; 0 when it is missing or no number, 2^64 - 1 for `max`. */
export function parseCounter(text: string | undefined): bigint {
  const trimmed = text?.trim() ?? '';
  if (trimmed === 'max') return unlimited;
  return /^\d+$/.test(trimmed) ? BigInt(trimmed) : 0n;
}

/** How a limit of `max` is reported. */
export const unlimited = 2n ** 64n - 1n;

/** `key value` lines (memory.stat, cpu.stat, memory.events …). */
export function parseKeyed(text: string | undefined): ReadonlyMap<string, bigint> {
  const values = new Map<string, bigint>();
  for (const line of (text ?? '').split('\n')) {
    const blank = line.indexOf(' ');
    if (blank > 0) values.set(line.slice(0, blank), parseCounter(line.slice(blank + 1)));
  }
  return values;
}

/** The names in the group's directory; empty when the group is gone. */
export function childFiles(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENODEV')) return [];
    throw err;
  }
}
