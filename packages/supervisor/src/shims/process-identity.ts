/** A process is known by its pid and its start time; a pid alone may be somebody else's by now. */
import { readdir, readFile, readlink } from 'node:fs/promises';
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

/** A shim process found in /proc, with the bundle it was started for. */
export interface FoundShim {
  readonly identity: ProcessIdentity;
  readonly bundle: string;
}

/**
 * The shims whose bundle lies below `bundlesDir`, by their command lines. A process of a container can give itself any
 * command line: only processes of our own pid namespace count, and the caller must check what the path says.
 */
export async function findShims(bundlesDir: string): Promise<FoundShim[]> {
  const home = await pidNamespace('self');
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid): Promise<FoundShim | undefined> => {
      const identity = identify(pid);
      const words = await commandLine(pid);
      const bundle = words[words.indexOf('-bundle') + 1] ?? '';
      const ours = words.includes('-bundle') && words.includes('-socket') && bundle.startsWith(`${bundlesDir}/`);
      if (!ours || (await pidNamespace(pid)) !== home) return undefined;
      return identity !== undefined && isAlive(identity) ? { identity, bundle } : undefined;
    }),
  );
  return found.filter((shim) => shim !== undefined);
}

/** Which pid namespace a process lives in; undefined when it ended meanwhile. */
async function pidNamespace(pid: number | 'self'): Promise<string | undefined> {
  return readlink(`/proc/${pid}/ns/pid`).catch(() => undefined);
}

async function commandLine(pid: number): Promise<string[]> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
  } catch {
    return []; // it ended meanwhile
  }
}
