/**
 * The whole life of a container that runs `true`:
 *
 *   Snapshots.Prepare  Containers.Create  Tasks.Create  (Tasks.Wait)  Tasks.Start ··· exit  Tasks.Delete
 *   Containers.Delete  Snapshots.Remove
 *
 * one at a time (with no stdio, and with fifos as `ctr run` has them), and many at once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createContainer,
  createTask,
  deleteContainer,
  deleteTask,
  nullStdio,
  prepareSnapshot,
  removeSnapshot,
  startProcess,
  waitForProcess,
} from '../containers/steps.ts';
import { Pipes } from '../containers/pipes.ts';
import type { Side } from '../peers/side.ts';
import { interleave } from '../statistics.ts';
import { atOnce } from '../workers.ts';
import { freshId, sampled } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const phases = {
  prepare: 'snapshot prepare',
  container: 'container create',
  create: 'task create',
  start: 'task start',
  exit: 'start → exit seen',
  delete: 'task delete',
  removeContainer: 'container delete',
  removeSnapshot: 'snapshot remove',
} as const;
type Phase = keyof typeof phases;

const concurrencies = [8, 32];

/** One whole life; resolves with the milliseconds of each phase. */
async function lifecycle(side: Side, io: 'null' | 'fifo'): Promise<Record<Phase, number>> {
  const id = freshId('true');
  const took = {} as Record<Phase, number>;
  let last = performance.now();
  const lap = (phase: Phase): void => {
    const now = performance.now();
    took[phase] = now - last;
    last = now;
  };
  const mounts = await prepareSnapshot(side, id);
  lap('prepare');
  await createContainer(side, id, ['true']);
  lap('container');
  using pipes = io === 'fifo' ? Pipes.make(side.dir, id) : undefined;
  await createTask(side, id, mounts, pipes?.paths ?? nullStdio);
  const exited = waitForProcess(side, id);
  exited.catch(() => undefined); // whoever awaits it below sees the failure
  lap('create');
  await startProcess(side, id);
  lap('start');
  const status = await exited;
  if (status !== 0) throw new Error(`${side.title}: true exited with ${status}`);
  await pipes?.drained();
  lap('exit');
  await deleteTask(side, id);
  lap('delete');
  await deleteContainer(side, id);
  lap('removeContainer');
  await removeSnapshot(side, id);
  lap('removeSnapshot');
  return took;
}

const sum = (took: Record<Phase, number>): number => Object.values(took).reduce((total, ms) => total + ms, 0);

async function oneAtATime(bench: Bench, io: 'null' | 'fifo', key: string, count: number): Promise<void> {
  const { results, sides } = bench;
  const how = io === 'fifo' ? 'with fifos' : 'one at a time';
  bench.say(`lifecycle ${how}: ${count} each`);
  for (const side of sides) await atOnce(1, 3, async () => void (await lifecycle(side, io))); // warm
  const before = sides.map((side) => side.cpuMs());
  await sampled(bench, count, async (side) => {
    const clientBefore = process.cpuUsage();
    const took = await lifecycle(side, io);
    const client = process.cpuUsage(clientBefore);
    results.add({ key: `${key}/total`, title: `whole lifecycle, ${how}`, unit: 'ms' }, side.name, sum(took));
    for (const phase of Object.keys(phases) as Phase[]) {
      const info = { key: `${key}/${phase}`, title: `— ${phases[phase]}`, unit: 'ms', detail: io === 'fifo' } as const;
      results.add(info, side.name, took[phase]);
    }
    const clientMs = (client.user + client.system) / 1e3;
    const info = { key: `${key}/client`, title: '— processor time of the bench itself', unit: 'ms' } as const;
    results.add({ ...info, detail: io === 'fifo' }, side.name, clientMs);
  });
  await sleep(200); // what is done after the answer is part of the cost
  addCpu(bench, `${key}/cpu`, before, count);
}

/** Processor time per container: daemon, shims, runtimes and the container itself. */
function addCpu(bench: Bench, key: string, before: readonly (number | undefined)[], count: number): void {
  for (const [index, side] of bench.sides.entries()) {
    const from = before[index];
    const to = side.cpuMs();
    if (from === undefined || to === undefined) continue;
    const info = { key, title: '— processor time a container, all processes', unit: 'ms' } as const;
    bench.results.add(info, side.name, (to - from) / count);
  }
}

async function manyAtOnce(bench: Bench, width: number): Promise<void> {
  const { plan, results } = bench;
  const count = Math.max(plan.batchMinimum, width * plan.batchPerWorker);
  bench.say(`lifecycle, ${width} at once: ${plan.batches} batches of ${count} each`);
  const key = `lifecycle/${width}`;
  for (const side of bench.sides) await atOnce(width, width, async () => void (await lifecycle(side, 'null')));
  const before = bench.sides.map((side) => side.cpuMs());
  for (const side of interleave(bench.sides, plan.batches)) {
    await sleep(plan.settleMs * 10);
    const startedAt = performance.now();
    await atOnce(width, count, async () => {
      const took = await lifecycle(side, 'null');
      const title = `whole lifecycle, ${width} at once`;
      results.add({ key: `${key}/total`, title, unit: 'ms' }, side.name, sum(took));
      for (const phase of Object.keys(phases) as Phase[]) {
        const info = { key: `${key}/${phase}`, title: `— ${phases[phase]}`, unit: 'ms', detail: true } as const;
        results.add(info, side.name, took[phase]);
      }
    });
    const rate = (count / (performance.now() - startedAt)) * 1e3;
    const info = { key: `${key}/rate`, title: `containers a second, ${width} at once`, unit: '/s' } as const;
    results.add({ ...info, better: 'more' }, side.name, rate);
  }
  await sleep(200);
  addCpu(bench, `${key}/cpu`, before, count * plan.batches);
}

export const lifecycleScenario: Scenario = {
  name: 'lifecycle',
  title: 'the life of a container that runs `true`',
  async run(bench) {
    await oneAtATime(bench, 'null', 'lifecycle/1', bench.plan.samples);
    for (const width of concurrencies) await manyAtOnce(bench, width);
    await oneAtATime(bench, 'fifo', 'lifecycle/fifo', Math.ceil(bench.plan.samples / 2));
  },
};
