/** The life of a further process in a running container: Exec, (Wait,) Start, exit, DeleteProcess. */
import {
  addExec,
  deleteExec,
  removeContainer,
  runContainer,
  startProcess,
  waitForProcess,
} from '../containers/steps.ts';
import type { Side } from '../peers/side.ts';
import { interleave } from '../statistics.ts';
import { atOnce } from '../workers.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { freshId, sampled } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const phases = { add: 'exec', start: 'start', exit: 'start → exit seen', delete: 'delete' } as const;
type Phase = keyof typeof phases;

/** How many execs are under way at once in the second part. */
const width = 8;

/** One exec of `true`; resolves with the milliseconds of each phase. */
export async function execOnce(side: Side, containerId: string): Promise<Record<Phase, number>> {
  const execId = freshId('exec');
  const took = {} as Record<Phase, number>;
  let last = performance.now();
  const lap = (phase: Phase): void => {
    const now = performance.now();
    took[phase] = now - last;
    last = now;
  };
  await addExec(side, containerId, execId, ['true']);
  const exited = waitForProcess(side, containerId, execId);
  exited.catch(() => undefined); // whoever awaits it below sees the failure
  lap('add');
  await startProcess(side, containerId, execId);
  lap('start');
  const status = await exited;
  if (status !== 0) throw new Error(`${side.title}: exec of true exited with ${status}`);
  lap('exit');
  await deleteExec(side, containerId, execId);
  lap('delete');
  return took;
}

const sum = (took: Record<Phase, number>): number => Object.values(took).reduce((total, ms) => total + ms, 0);

async function oneAtATime(bench: Bench, containersOf: Map<Side, string[]>, count: number): Promise<void> {
  bench.say(`exec, one at a time: ${count} each`);
  const before = bench.sides.map((side) => side.cpuMs());
  await sampled(bench, count, async (side) => {
    const took = await execOnce(side, containersOf.get(side)?.[0] ?? '');
    bench.results.add({ key: 'exec/1/total', title: 'exec, one at a time', unit: 'ms' }, side.name, sum(took));
    for (const phase of Object.keys(phases) as Phase[]) {
      const info = { key: `exec/1/${phase}`, title: `— ${phases[phase]}`, unit: 'ms' } as const;
      bench.results.add(info, side.name, took[phase]);
    }
  });
  for (const [index, side] of bench.sides.entries()) {
    const from = before[index];
    const to = side.cpuMs();
    if (from === undefined || to === undefined) continue;
    const info = { key: 'exec/1/cpu', title: '— processor time an exec, all processes', unit: 'ms' } as const;
    bench.results.add(info, side.name, (to - from) / count);
  }
}

/** Execs a second with `width` under way, spread over so many containers. */
async function manyAtOnce(bench: Bench, containersOf: Map<Side, string[]>, spread: 1 | 8): Promise<void> {
  const { plan, results } = bench;
  const count = plan.batchMinimum * 2;
  bench.say(`exec, ${width} at once in ${spread}: ${plan.batches} batches of ${count} each`);
  const words = spread === 1 ? 'in one container' : `in ${spread} containers`;
  for (const side of interleave(bench.sides, plan.batches)) {
    await sleep(plan.settleMs * 5);
    const startedAt = performance.now();
    await atOnce(width, count, async (index) => {
      const took = await execOnce(side, containersOf.get(side)?.[index % spread] ?? '');
      const info = {
        key: `exec/${width}in${spread}/total`,
        title: `exec, ${width} at once ${words}`,
        unit: 'ms',
      } as const;
      results.add({ ...info, detail: true }, side.name, sum(took));
    });
    const rate = (count / (performance.now() - startedAt)) * 1e3;
    const title = `execs a second, ${width} at once ${words}`;
    results.add({ key: `exec/${width}in${spread}/rate`, title, unit: '/s', better: 'more' }, side.name, rate);
  }
}

export const execScenario: Scenario = {
  name: 'exec',
  title: 'the life of an exec of `true` in a running container',
  async run(bench) {
    const containersOf = new Map(
      bench.sides.map((side) => [side, Array.from({ length: width }, () => freshId('box'))]),
    );
    for (const [side, ids] of containersOf) {
      for (const id of ids) await runContainer(side, id, ['sleep', '1000000']);
      for (const id of ids) await execOnce(side, id); // warm
    }
    await oneAtATime(bench, containersOf, bench.plan.samples * 2);
    await manyAtOnce(bench, containersOf, 1);
    await manyAtOnce(bench, containersOf, 8);
    for (const [side, ids] of containersOf) for (const id of ids) await removeContainer(side, id);
  },
};
