/** What a process has inherited and what it has of its own, as proc(5) tells it. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface ProcessPicture {
  /** Descriptor → what it is open on; those of standard input, output and error are among them. */
  readonly descriptors: ReadonlyMap<number, string>;
  readonly parent: number;
  readonly session: number;
  readonly processGroup: number;
  /** 0 without a controlling terminal. */
  readonly terminal: number;
  readonly threads: number;
  /** The numbers of the signals that are ignored, handled, blocked and pending. */
  readonly signals: Readonly<Record<'ignored' | 'handled' | 'blocked' | 'pending', readonly number[]>>;
  /** Lines of `status` that a process has from its parent: groups, umask, capabilities and so on. */
  readonly inherited: Readonly<Record<string, string>>;
  readonly environment: readonly string[];
  readonly directory: string;
  readonly root: string;
  readonly cgroups: string;
  readonly oomScoreAdj: number;
  /** Timers of timer_create(2). */
  readonly timers: string;
  readonly limits: string;
}

const inheritedLines =
  'Uid Gid Groups Umask NoNewPrivs Seccomp CapInh CapPrm CapEff CapBnd CapAmb Cpus_allowed Mems_allowed'.split(' ');

export function pictureOf(pid: number): ProcessPicture {
  const read = (file: string): string => readFileSync(`/proc/${pid}/${file}`, 'latin1');
  const status = new Map(
    read('status')
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const signals = (name: string): number[] => bitsOf(status.get(name) ?? '');
  // The second field is a name that may hold anything; the third follows the last parenthesis.
  const stat = read('stat').split(') ').at(-1)?.split(' ') ?? [];
  return {
    descriptors: descriptorsOf(pid),
    parent: Number(stat[1]),
    processGroup: Number(stat[2]),
    session: Number(stat[3]),
    terminal: Number(stat[4]),
    threads: Number(status.get('Threads')),
    signals: {
      ignored: signals('SigIgn'),
      handled: signals('SigCgt'),
      blocked: signals('SigBlk'),
      pending: [...signals('SigPnd'), ...signals('ShdPnd')],
    },
    inherited: Object.fromEntries(inheritedLines.map((name) => [name, status.get(name) ?? ''])),
    environment: read('environ').split('\0').filter(Boolean),
    directory: readlinkSync(`/proc/${pid}/cwd`),
    root: readlinkSync(`/proc/${pid}/root`),
    cgroups: read('cgroup'),
    oomScoreAdj: Number(read('oom_score_adj')),
    timers: read('timers'),
    limits: read('limits'),
  };
}

/** Bit n is signal n + 1. */
function bitsOf(hex: string): number[] {
  const mask = BigInt(`0x${hex}`);
  return Array.from({ length: 64 }, (_, at) => at + 1).filter((signal) => ((mask >> BigInt(signal - 1)) & 1n) === 1n);
}

function descriptorsOf(pid: number): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      found.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`));
    } catch {
      // Closed meanwhile.
    }
  }
  return found;
}
