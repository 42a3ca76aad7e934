/** How many calls a second the API answers when nothing has to be run for them. */
import { containers, version } from '@gantry/api';
import { setTimeout as sleep } from 'node:timers/promises';
import { createContainer, deleteContainer, prepareSnapshot, removeSnapshot } from '../containers/steps.ts';
import type { Side } from '../peers/side.ts';
import { atOnce } from '../workers.ts';
import { freshId, sampled, timed } from './scenario.ts';
import type { Bench, Scenario } from './scenario.ts';

const listSamples = 10;

interface Call {
  readonly name: string;
  readonly title: string;
  readonly make: (side: Side) => Promise<unknown>;
}

/** Calls with so many in flight for the length of a slice; resolves with the milliseconds of each. */
async function slice(side: Side, call: Call, inFlight: number, lengthMs: number): Promise<number[]> {
  const took: number[] = [];
  const end = performance.now() + lengthMs;
  await atOnce(inFlight, inFlight, async () => {
    while (performance.now() < end) took.push(await timed(() => call.make(side)));
  });
  return took;
}

async function measureRate(bench: Bench, call: Call, inFlight: number): Promise<void> {
  const { plan, results } = bench;
  bench.say(`rpc: ${call.title}, ${inFlight} in flight`);
  for (const side of bench.sides) await slice(side, call, inFlight, plan.rateSliceMs / 2); // warm
  await sampled(bench, plan.rateSlices, async (side) => {
    const startedAt = performance.now();
    const took = await slice(side, call, inFlight, plan.rateSliceMs);
    const rate = (took.length / (performance.now() - startedAt)) * 1e3;
    const key = `rpc/${call.name}-${inFlight}`;
    const title = `${call.title}, ${inFlight} in flight`;
    results.add({ key: `${key}/rate`, title, unit: '/s', better: 'more' }, side.name, rate);
    const latency = { key: `${key}/latency`, title: '— latency', unit: 'µs', detail: inFlight > 1 } as const;
    results.add(latency, side.name, ...took.map((ms) => ms * 1e3));
  });
}

export const rpcScenario: Scenario = {
  name: 'rpc',
  title: 'calls a second that only read',
  async run(bench) {
    const { records } = bench.plan;
    const asking: Call = {
      name: 'version',
      title: 'Version',
      make: (side) => side.connection.callRaw(version.VersionService, 'version', {}),
    };
    for (const inFlight of [1, 64]) await measureRate(bench, asking, inFlight);

    bench.say(`rpc: making ${records} records`);
    const ids = Array.from({ length: records }, () => freshId('record'));
    for (const side of bench.sides) {
      await atOnce(8, records, async (index) => {
        const id = ids[index] ?? '';
        await prepareSnapshot(side, id);
        await createContainer(side, id, ['true']);
      });
    }
    const getting: Call = {
      name: 'get',
      title: `Containers.Get of ${records}`,
      make: (side) => side.connection.callRaw(containers.ContainersService, 'get', { id: ids[records >> 1] ?? '' }),
    };
    for (const inFlight of [1, 64]) await measureRate(bench, getting, inFlight);
    await sampled(bench, listSamples, async (side) => {
      let sizeBytes = 0;
      const took = await timed(async () => {
        sizeBytes = (await side.connection.callRaw(containers.ContainersService, 'list', {})).length;
      });
      if (sizeBytes < records * 1_000) throw new Error(`${side.title}: a list of ${records} has ${sizeBytes} bytes`);
      bench.results.add({ key: 'rpc/list', title: `Containers.List of ${records}`, unit: 'ms' }, side.name, took);
    });
    for (const side of bench.sides) {
      await atOnce(8, records, async (index) => {
        await deleteContainer(side, ids[index] ?? '');
        await removeSnapshot(side, ids[index] ?? '');
      });
      await sleep(bench.plan.settleMs);
    }
  },
};
