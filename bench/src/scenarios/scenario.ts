/** What every scenario is given, and what it is. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Side } from '../peers/side.ts';
import type { Plan } from '../plan.ts';
import type { Results } from '../results.ts';
import { interleave } from '../statistics.ts';

export interface Bench {
  readonly sides: readonly Side[];
  readonly plan: Plan;
  readonly results: Results;
  /** Tells whoever watches what is being done. */
  readonly say: (text: string) => void;
}

export interface Scenario {
  /** What `--only` calls it. */
  readonly name: string;
  /** What it measures, in a few words. */
  readonly title: string;
  run(bench: Bench): Promise<void>;
}

let lastId = 0;

/** A container id nobody else has. */
export function freshId(prefix: string): string {
  lastId += 1;
  return `${prefix}-${lastId}-${randomBytes(2).toString('hex')}`;
}

/** Calls `sample` for both sides in turn, `rounds` times each, with a rest before each. */
export async function sampled(
  bench: Bench,
  rounds: number,
  sample: (side: Side) => Promise<void>,
  settleMs = bench.plan.settleMs,
): Promise<void> {
  for (const side of interleave(bench.sides, rounds)) {
    await sleep(settleMs);
    await sample(side);
  }
}

/** Milliseconds that `work` took. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
