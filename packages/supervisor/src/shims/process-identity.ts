/** A process is known by its pid and its start time; a pid alone may be somebody else's by now. */
import { processStartTime, processState } from '@gantry/libc';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/pid/stat: clock ticks since boot. */
  readonly startTime: bigint;
}

/** The process that has this pid now; undefined when there is none. */
export function identify(pid: number): ProcessIdentity | undefined {
  const startTime = processStartTime(pid);
  return startTime === undefined ? undefined : { pid, startTime };
}

/** Whether it is still that process and runs; one that only waits for its parent to notice (a zombie) does not. */
export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  const found = processState(pid);
  return found?.startTime === startTime && found.state !== 'Z' && found.state !== 'X';
}

/** Whether it is alive and goes on. */
export function isRunning({ pid, startTime }: ProcessIdentity): boolean {
  const found = processState(pid);
  return found?.startTime === startTime && !['Z', 'X', 'T', 't'].includes(found.state);
}

/** Whether it is stopped (SIGSTOP, a debugger), and so can say nothing. */
export function isStopped(pid: number): boolean {
  const state = processState(pid)?.state;
  return state === 'T' || state === 't';
}

/** Resolves to true when the process has ended, to false when it has not within the time. */
export async function processGone(process: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  for (const end = Date.now() + timeoutMs; ;) {
    if (!isAlive(process)) return true;
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** SIGKILL, if it is still that process. Returns whether a signal was sent. */
export function killProcess(identity: ProcessIdentity): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, 'SIGKILL');
    return true;
  } catch {
    return false; // it ended between the two lines
  }
}

/** The text form, for a bundle's `shim.pid`: `<pid> <start time>`. */
export function formatIdentity({ pid, startTime }: ProcessIdentity): string {
  return `${pid} ${startTime}\n`;
}

/** Reads what `formatIdentity` wrote; undefined for anything else. */
export function parseIdentity(text: string): ProcessIdentity | undefined {
  const match = /^(\d{1,10}) (\d{1,20})\n$/.exec(text);
  return match === null ? undefined : { pid: Number(match[1]), startTime: BigInt(match[2] ?? '0') };
}
