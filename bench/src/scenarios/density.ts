/**
 * Many idle containers: what each costs in memory and threads, what all of them cost while nothing happens, and
 * whether the next one still starts as fast.
 *
 * Here the sides do not take turns but follow each other: the containers of one are mounts, cgroups and memory in the
 * way of the other's, and a container's price would be that of its neighbours too.
 */
import { tasks, v1Types } from '@gantry/api';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createContainer,
  createTask,
  prepareSnapshot,
  removeContainer,
  runContainer,
  startProcess,
} from '../containers/steps.ts';
import { availableBytes, cpuMsOf, familyOf, memoryOf, threadsOf } from '../host/processes.ts';
import type { Side } from '../peers/side.ts';
import type { SeriesInfo } from '../results.ts';
import { median } from '../statistics.ts';
import { atOnce } from '../workers.ts';
import { freshId, timed } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const megabyte = 1e6;

/** How many containers are started and removed at once. */
const fillWidth = 8;

const listSamples = 20;

/** Collection, caches and whatever else follows a change has ended by then. */
const restMs = 1_500;

const idle = ['sleep', '1000000'];

/** The middle of some looks: the figure moves by itself. */
async function availableNow(): Promise<number> {
  const looks: number[] = [];
  for (let look = 0; look < 9; look += 1) {
    looks.push(availableBytes());
    await sleep(50);
  }
  return median(looks);
}

/** Task create and start, with so many containers beside it. */
async function sampleStarts(bench: Bench, side: Side, running: number): Promise<void> {
  const info = {
    key: `density/start-at-${running}`,
    title: `task create + start, ${running} running`,
    unit: 'ms',
  } as const;
  for (let sample = 0; sample < bench.plan.densityStarts; sample += 1) {
    const id = freshId('next');
    const mounts = await prepareSnapshot(side, id);
    await createContainer(side, id, idle);
    const took = await timed(async () => {
      await createTask(side, id, mounts);
      await startProcess(side, id);
    });
    bench.results.add(info, side.name, took);
    await removeContainer(side, id);
    await sleep(bench.plan.settleMs);
  }
}

function addMemory(bench: Bench, side: Side, count: number): void {
  const add = (info: SeriesInfo, ...values: number[]): void => bench.results.add(info, side.name, ...values);
  const shims = side.shims();
  if (shims.length !== count) throw new Error(`${side.title}: ${shims.length} shims for ${count} containers`);
  const memories = shims.map(memoryOf);
  const at = `at ${count} containers`;
  add(
    { key: 'density/shim-private', title: `private memory of a shim, ${at}`, unit: 'MB' },
    ...memories.map(({ privateBytes }) => privateBytes / megabyte),
  );
  add(
    { key: 'density/shim-pss', title: '— proportional set size of a shim', unit: 'MB' },
    ...memories.map(({ pssBytes }) => pssBytes / megabyte),
  );
  add({ key: 'density/shim-threads', title: '— threads of a shim', unit: 'threads' }, ...shims.map(threadsOf));
  const daemon = side.daemon.pid;
  const others = familyOf(daemon).filter((pid) => pid !== daemon && !shims.includes(pid));
  const pss = (pids: readonly number[]): number =>
    pids.reduce((sum, pid) => sum + memoryOf(pid).pssBytes, 0) / megabyte;
  add({ key: 'density/daemon-pss', title: `proportional set size of the daemon, ${at}`, unit: 'MB' }, pss([daemon]));
  add({ key: 'density/helpers-pss', title: '— of what else it keeps running', unit: 'MB' }, pss(others));
}

/** Every task is listed as running; also the latency of the listing. */
async function sampleList(bench: Bench, side: Side, count: number): Promise<void> {
  for (let sample = 0; sample < listSamples; sample += 1) {
    const startedAt = performance.now();
    const { tasks: listed } = await side.connection.call(tasks.TasksService, 'list', {});
    const took = performance.now() - startedAt;
    const running = listed.filter(({ status }) => status === v1Types.Status.RUNNING).length;
    if (running !== count) throw new Error(`${side.title}: ${running} of ${count} tasks are listed as running`);
    bench.results.add({ key: 'density/list', title: `Tasks.List of ${count}`, unit: 'ms' }, side.name, took);
    await sleep(bench.plan.settleMs);
  }
}

/** Processor time a second while nobody asks for anything. */
async function sampleIdle(bench: Bench, side: Side, count: number): Promise<void> {
  const family = (): number => familyOf(side.daemon.pid).reduce((sum, pid) => sum + (pid > 0 ? cpuMsOf(pid) : 0), 0);
  const whole = (): number => side.cpuMs() ?? family() + side.shims().reduce((sum, pid) => sum + cpuMsOf(pid), 0);
  await sleep(restMs);
  const startedAt = performance.now();
  const before = { whole: whole(), daemon: cpuMsOf(side.daemon.pid) };
  await sleep(bench.plan.idleMs);
  const seconds = (performance.now() - startedAt) / 1e3;
  const title = `processor time while ${count} containers sleep`;
  bench.results.add({ key: 'density/idle', title, unit: 'ms/s' }, side.name, (whole() - before.whole) / seconds);
  const ofDaemon = (cpuMsOf(side.daemon.pid) - before.daemon) / seconds;
  bench.results.add({ key: 'density/idle-daemon', title: '— of the daemon', unit: 'ms/s' }, side.name, ofDaemon);
}

async function fill(bench: Bench, side: Side, ids: string[], count: number): Promise<void> {
  const from = ids.length;
  bench.say(`density, ${side.title}: from ${from} to ${count} containers`);
  const took = await timed(() =>
    atOnce(fillWidth, count - from, async () => {
      const id = freshId('idle');
      ids.push(id);
      await runContainer(side, id, idle);
    }),
  );
  const title = `containers started a second, from ${from} to ${count}`;
  const info = { key: `density/fill-${count}`, title, unit: '/s', better: 'more', detail: true } as const;
  bench.results.add(info, side.name, ((count - from) / took) * 1e3);
}

async function measureSide(bench: Bench, side: Side): Promise<void> {
  const { density } = bench.plan;
  const most = density.at(-1) ?? 0;
  const ids: string[] = [];
  await sampleStarts(bench, side, 0);
  await sleep(restMs);
  const emptyBytes = await availableNow();
  for (const count of density) {
    await fill(bench, side, ids, count);
    await sleep(restMs);
    const perContainer = (emptyBytes - (await availableNow())) / count / megabyte;
    const key = count === most ? 'density/machine' : `density/machine-${count}`;
    const title = `memory of the machine a container, at ${count}`;
    bench.results.add({ key, title, unit: 'MB' }, side.name, perContainer);
    await sampleStarts(bench, side, count);
  }
  const starts = (running: number): number => median(bench.results.samples(`density/start-at-${running}`, side.name));
  const title = `start with ${most} running, against with none`;
  bench.results.add({ key: 'density/start-growth', title, unit: '×' }, side.name, starts(most) / starts(0));
  addMemory(bench, side, most);
  await sampleList(bench, side, most);
  await sampleIdle(bench, side, most);
  bench.say(`density, ${side.title}: removing them`);
  await atOnce(fillWidth, ids.length, (index) => removeContainer(side, ids[index] ?? ''));
}

export const densityScenario: Scenario = {
  name: 'density',
  title: 'many idle containers',
  async run(bench) {
    for (const side of bench.sides) {
      await measureSide(bench, side);
      await sleep(restMs * 2); // what the last one leaves behind is not the next one's
    }
  },
};
