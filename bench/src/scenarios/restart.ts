/** SIGKILL of the daemon over running containers, and how soon the next one is of use. */
import { tasks, v1Types } from '@gantry/api';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeContainer, runContainer } from '../containers/steps.ts';
import type { Side } from '../peers/side.ts';
import { interleave } from '../statistics.ts';
import { atOnce } from '../workers.ts';
import { execOnce } from './exec.ts';
import { freshId } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

/** Between two questions whether all tasks are there. */
const askMs = 2;

const allRunningTimeoutMs = 60_000;

/** So that what one daemon does after its start is not in the other's. */
const restMs = 1_000;

async function allRunning(side: Side, count: number): Promise<void> {
  const end = performance.now() + allRunningTimeoutMs;
  for (;;) {
    const { tasks: listed } = await side.connection.call(tasks.TasksService, 'list', {});
    const running = listed.filter(({ status }) => status === v1Types.Status.RUNNING).length;
    if (running === count) return;
    if (performance.now() > end) throw new Error(`${side.title}: ${running} of ${count} tasks run after a restart`);
    await sleep(askMs);
  }
}

async function restart(bench: Bench, side: Side, ids: readonly string[], round: number): Promise<void> {
  const add = (key: string, what: string, ms: number): void =>
    bench.results.add(
      { key: `restart/${key}`, title: `restart under ${ids.length} containers: ${what}`, unit: 'ms' },
      side.name,
      ms,
    );
  await side.kill();
  const startedAt = performance.now();
  await side.launch();
  add('answer', 'first answer', performance.now() - startedAt);
  await allRunning(side, ids.length);
  add('running', 'all listed as running', performance.now() - startedAt);
  await execOnce(side, ids[round % ids.length] ?? '');
  add('exec', 'first exec has run', performance.now() - startedAt);
}

export const restartScenario: Scenario = {
  name: 'restart',
  title: 'SIGKILL of the daemon over running containers, and its next start',
  async run(bench) {
    const { restartContainers: count, restarts } = bench.plan;
    const idsOf = new Map(bench.sides.map((side) => [side, Array.from({ length: count }, () => freshId('stay'))]));
    for (const [side, ids] of idsOf) {
      bench.say(`restart, ${side.title}: starting ${count} containers`);
      await atOnce(8, count, (index) => runContainer(side, ids[index] ?? '', ['sleep', '1000000']));
    }
    bench.say(`restart: ${restarts} times each`);
    for (const [turn, side] of interleave(bench.sides, restarts).entries()) {
      await sleep(restMs);
      await restart(bench, side, idsOf.get(side) ?? [], turn);
    }
    for (const [side, ids] of idsOf) await atOnce(8, count, (index) => removeContainer(side, ids[index] ?? ''));
  },
};
