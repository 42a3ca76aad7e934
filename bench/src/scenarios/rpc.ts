/** How many calls a second the API answers, and events it hands on, when nothing has to be run for them. */
import { containers, eventsService, version } from '@gantry/api';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Stream } from '../connection.ts';
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

/** Subscribers, and publishing calls in flight; one publisher has one connection. */
const subscribers = 10;
const publishing = 16;

/** Events a second from one publisher until each of ten subscribers has all of them; fails when one is missing. */
async function measureEvents(bench: Bench): Promise<void> {
  const { events, rateSlices } = bench.plan;
  bench.say(`rpc: ${events} events to ${subscribers} subscribers`);
  const streams = new Map<Side, { readonly close: () => void; readonly heard: readonly Stream[] }>();
  for (const side of bench.sides) {
    // Each has a connection of its own, as programs have.
    const connections = Array.from({ length: subscribers }, () => side.anotherConnection());
    const filters = [`namespace==${side.namespace},topic~=|^/bench/|`];
    const heard = connections.map((connection) =>
      connection.stream(eventsService.EventsService, 'subscribe', { filters }),
    );
    streams.set(side, { heard, close: () => connections.forEach((connection) => connection.close()) });
  }
  await sleep(500); // a subscription has begun when the daemon has read it
  const event = { typeUrl: 'containerd.events.TaskStart', value: Buffer.from('\n\x0acontainer-1\x10\x2a') };
  const send = async (side: Side): Promise<number> => {
    const { heard = [] } = streams.get(side) ?? {};
    const wanted = heard.map((stream) => stream.messages + events);
    const startedAt = performance.now();
    await atOnce(publishing, events, async () => {
      await side.connection.callRaw(eventsService.EventsService, 'publish', { topic: '/bench/event', event });
    });
    await Promise.all(heard.map((stream, index) => stream.reaches(wanted[index] ?? 0, lossTimeoutMs)));
    return (events / (performance.now() - startedAt)) * 1e3;
  };
  for (const side of bench.sides) await send(side); // warm
  await sampled(bench, rateSlices, async (side) => {
    const title = `events from one publisher to ${subscribers} subscribers`;
    bench.results.add({ key: 'rpc/events/rate', title, unit: '/s', better: 'more' }, side.name, await send(side));
  });
  for (const { close } of streams.values()) close();
}

/** An event that has not come after this time is lost. */
const lossTimeoutMs = 30_000;

/** Records made and removed with so many in flight: each is durable before it is acknowledged. */
async function measureRecords(bench: Bench): Promise<void> {
  const makeAndRemove: Call = {
    name: 'create-delete',
    title: 'Containers.Create and Delete',
    make: async (side) => {
      const id = freshId('brief');
      await createContainer(side, id, ['true']);
      await deleteContainer(side, id);
    },
  };
  await measureRate(bench, makeAndRemove, 16);
}

export const rpcScenario: Scenario = {
  name: 'rpc',
  title: 'calls and events a second',
  async run(bench) {
    const { records } = bench.plan;
    const asking: Call = {
      name: 'version',
      title: 'Version',
      make: (side) => side.connection.callRaw(version.VersionService, 'version', {}),
    };
    for (const inFlight of [1, 64]) await measureRate(bench, asking, inFlight);
    await measureEvents(bench);
    await measureRecords(bench);

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
