/** What identifies a process beyond its pid, which the kernel uses again: its start time (proc_pid_stat(5)). */
import { readFileSync } from 'node:fs';
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

function statFields(pid: number, procRoot: string): { state: string; startTime: bigint } | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  let text: string;
  try {
    text = readFileSync(`${procRoot}/${pid}/stat`, 'latin1');
  } catch (err) {
    // ESRCH: it went between the open and the read.
    if (isErrno(err, 'ENOENT', 'ESRCH')) return undefined;
    throw err;
  }
  // The name in parentheses may hold anything, blanks and parentheses included; nothing after it holds a parenthesis.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const startTime = fields[START_TIME_FIELD];
  const state = fields[0];
  return startTime === undefined || state === undefined ? undefined : { state, startTime: BigInt(startTime.trim()) };
}
