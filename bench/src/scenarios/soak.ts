/** So many containers at once: all start, all answer an exec, all go, and nothing is left. Throws when that is not so. */
import { containers, tasks, v1Types } from '@gantry/api';
import { processesWith } from '@gantry/test';
import { removeContainer, runContainer } from '../containers/steps.ts';
import { availableBytes, memoryOf } from '../host/processes.ts';
import type { Side } from '../peers/side.ts';
import { atOnce } from '../workers.ts';
import { execOnce } from './exec.ts';
import { freshId, timed } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const width = 16;

/** `count` containers on every side there is. */
export function soakScenario(count: number): Scenario {
  return {
    name: 'soak',
    title: `${count} containers at once`,
    async run(bench) {
      for (const side of bench.sides) await soak(bench, side, count);
    },
  };
}

async function soak(bench: Bench, side: Side, count: number): Promise<void> {
  const ids = Array.from({ length: count }, () => freshId('soak'));
  const rate = async (key: string, title: string, job: (id: string) => Promise<unknown>): Promise<void> => {
    bench.say(`soak, ${side.title}: ${title}`);
    const took = await timed(() => atOnce(width, count, async (index) => void (await job(ids[index] ?? ''))));
    bench.results.add({ key: `soak/${key}`, title, unit: '/s', better: 'more' }, side.name, (count / took) * 1e3);
  };
  const before = availableBytes();
  await rate('start', `${count} containers started, ${width} at once`, (id) =>
    runContainer(side, id, ['sleep', '1000000']),
  );
  const { tasks: listed } = await side.connection.call(tasks.TasksService, 'list', {});
  const running = listed.filter(({ status }) => status === v1Types.Status.RUNNING).length;
  if (running !== count) throw new Error(`${side.title}: ${running} of ${count} containers run`);
  await rate('exec', 'each answered an exec', (id) => execOnce(side, id));
  const each = { key: 'soak/memory', title: 'memory of the machine a container', unit: 'MB' } as const;
  bench.results.add(each, side.name, (before - availableBytes()) / count / 1e6);
  const daemon = { key: 'soak/daemon-pss', title: 'proportional set size of the daemon', unit: 'MB' } as const;
  bench.results.add(daemon, side.name, memoryOf(side.daemon.pid).pssBytes / 1e6);
  await rate('remove', 'each was killed and removed', (id) => removeContainer(side, id));
  await checkNothingLeft(side);
}

/** Processes are found by the containers' cgroups; the daemon's own stay. */
async function checkNothingLeft(side: Side): Promise<void> {
  const { tasks: listed } = await side.connection.call(tasks.TasksService, 'list', {});
  const records = (await side.connection.call(containers.ContainersService, 'list', {})).containers;
  const left = [
    ...listed.map(({ id }) => `task ${id}`),
    ...records.map(({ id }) => `container ${id}`),
    ...side.shims().map((pid) => `shim ${pid}`),
    ...processesWith([`${side.cgroup}/soak-`]),
    ...side.groups().filter((group) => group.includes('/soak-')),
  ];
  if (left.length > 0) throw new Error(`${side.title}: ${left.length} things are left, such as ${left[0]}`);
}
