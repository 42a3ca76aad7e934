/** What `/proc` says about processes: whose they are, what they hold of the memory, what they have used of the processors. */
import { readdirSync, readFileSync } from 'node:fs';

/** A process's share of the memory. */
export interface Memory {
  /** Pages nobody else maps. */
  readonly privateBytes: number;
  /** Those, and of the shared ones a fair part (proportional set size). */
  readonly pssBytes: number;
}

/** Throws when the process has gone. */
export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const bytes = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN) * 1024;
  return { privateBytes: bytes('Private_Clean') + bytes('Private_Dirty'), pssBytes: bytes('Pss') };
}

/** How many threads a process has. Throws when it has gone. */
export function threadsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).length;
}

/** Milliseconds on a processor so far, all threads that live; to the nanosecond, unlike the clock ticks of `stat`. */
export function cpuMsOf(pid: number): number {
  let total = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      total += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
    } catch {
      // The thread ended meanwhile.
    }
  }
  return total;
}

/** Bytes the kernel could give away without swapping (proc_meminfo(5)). */
export function availableBytes(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  return Number(/^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1]) * 1024;
}

/** Every process's parent. */
export function parents(): Map<number, number> {
  const found = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      // The command's name stands in parentheses and may itself contain some.
      found.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

/** A process and everything below it. */
export function familyOf(pid: number): number[] {
  const family = [pid];
  const all = [...parents()];
  for (const member of family) for (const [child, parent] of all) if (parent === member) family.push(child);
  return family;
}

/** The arguments of a process; empty when it has gone. */
export function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
