/** Sending a signal to every process of a group, those included that are forked meanwhile. */
import { isErrno } from '@gantry/libc';
import type { CgroupCalls } from './hierarchy.ts';

/** What is needed of a group here. */
export interface SignalTarget {
  members(): number[];
  /** Stops forks for the moment; false when the group cannot be frozen in reasonable time. */
  hold(): boolean;
  release(): void;
}

/** Without a freezer a fork bomb can outrun one pass; each pass kills what it sees. */
const maximumPasses = 20;

const SIGKILL = 9;

/**
 * Signals every process once and returns how many. The group is frozen while its list is read; SIGKILL takes effect
 * when it runs again. Where freezing fails, SIGKILL is repeated until a pass finds nobody new.
 */
export function signalGroup(sys: Pick<CgroupCalls, 'kill'>, target: SignalTarget, signal: number): number {
  const reached = new Set<number>();
  const held = target.hold();
  try {
    const passes = held || signal !== SIGKILL ? 1 : maximumPasses;
    for (let pass = 0; pass < passes; pass++) {
      const fresh = target.members().filter((pid) => !reached.has(pid));
      if (fresh.length === 0) break;
      for (const pid of fresh) {
        reached.add(pid);
        signalOne(sys, pid, signal);
      }
    }
  } finally {
    if (held) target.release();
  }
  return reached.size;
}

function signalOne(sys: Pick<CgroupCalls, 'kill'>, pid: number, signal: number): void {
  try {
    sys.kill(pid, signal);
  } catch (err) {
    // It ended between the list and the signal.
    if (!isErrno(err, 'ESRCH')) throw err;
  }
}
