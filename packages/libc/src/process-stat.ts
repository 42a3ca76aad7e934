/** What identifies a process beyond its pid, which the kernel uses again: its start time (proc_pid_stat(5)). */
import { closeSync, openSync, readSync } from 'node:fs';
import { isErrno } from './syscall-error.ts';

/** Field 22 of /proc/PID/stat, counted from the field after the name. */
const START_TIME_FIELD = 22 - 3;

/**
 * When a process started, in clock ticks since boot; undefined when there is no such process. A zombie still has one.
 * `procRoot` is for tests.
 */
export function processStartTime(pid: number, procRoot = '/proc'): bigint | undefined {
  return statFields(pid, procRoot)?.startTime;
}

/** The state letter of a process (`R S D Z T …`) with its start time; undefined when there is no such process. */
export function processState(pid: number, procRoot = '/proc'): { state: string; startTime: bigint } | undefined {
  return statFields(pid, procRoot);
}

/** Lent for one read: the line has 52 numbers and a name of at most 64 bytes. */
const line = Buffer.allocUnsafe(2048);

function statFields(pid: number, procRoot: string): { state: string; startTime: bigint } | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  const text = readLine(`${procRoot}/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name in parentheses may hold anything, blanks and parentheses included; nothing after it holds a parenthesis.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ', START_TIME_FIELD + 1);
  const startTime = fields[START_TIME_FIELD];
  const state = fields[0];
  return startTime === undefined || state === undefined ? undefined : { state, startTime: BigInt(startTime.trim()) };
}

/** The file's text by three system calls, for it is read of every task that is listed. */
function readLine(file: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    return line.toString('latin1', 0, readSync(fd, line, 0, line.length, 0));
  } catch (err) {
    // ESRCH: it went between the open and the read.
    if (isErrno(err, 'ENOENT', 'ESRCH')) return undefined;
    throw err;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
