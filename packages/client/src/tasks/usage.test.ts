import t from 'tap';
import { cgroupsV1, cgroupsV2, packAny } from '@gantry/api';
import type { types } from '@gantry/api';
import { cancelled } from '@gantry/errors';
import { usageOf, watchUsage, withShare } from './usage.ts';

const at = (seconds: bigint): types.Metric['timestamp'] => ({ seconds, nanos: 0 });
const none = 0xffff_ffff_ffff_ffffn;

const ofV1: types.Metric = {
  id: 'a',
  timestamp: at(1n),
  data: packAny(cgroupsV1.Metrics, {
    cpu: { usage: { total: 5_000_000_000n } },
    memory: { usage: { usage: 1000n, limit: 0x7fff_ffff_ffff_f000n }, totalInactiveFile: 300n },
    pids: { current: 2n, limit: 0n },
  }),
};

const ofV2 = (usageUsec: bigint, seconds: bigint): types.Metric => ({
  id: 'b',
  timestamp: at(seconds),
  data: packAny(cgroupsV2.Metrics, {
    cpu: { usageUsec },
    memory: { usage: 500n, usageLimit: 4096n, inactiveFile: 700n },
    pids: { current: 1n, limit: none },
  }),
});

t.test('metrics of both cgroup versions come in one shape, limits that are none are undefined', (t) => {
  t.same(usageOf(ofV1), {
    id: 'a',
    atNs: 1_000_000_000n,
    cpuNs: 5_000_000_000n,
    memoryBytes: 700n,
    memoryLimitBytes: undefined,
    pids: 2n,
    pidsLimit: undefined,
  });
  t.match(usageOf(ofV2(7n, 1n)), { cpuNs: 7000n, memoryBytes: 500n, memoryLimitBytes: 4096n, pidsLimit: undefined });
  t.match(usageOf({ id: 'c', timestamp: undefined, data: { typeUrl: 'x.Y', value: Buffer.alloc(1) } }), {
    id: 'c',
    cpuNs: undefined,
  });
  t.end();
});

t.test('the share is of one processor, and is known from the second reading on', (t) => {
  const [first, second] = [usageOf(ofV2(0n, 1n)), usageOf(ofV2(500_000n, 2n))];
  t.equal(withShare(first, []).cpuPercent, undefined);
  t.equal(withShare(second, [first]).cpuPercent, 50);
  t.equal(withShare(first, [first]).cpuPercent, undefined, 'no time has passed');
  t.end();
});

const running = [{ id: 'b', containerId: 'b', status: 2 }];

t.test('readings come until the block ends', async (t) => {
  let asked = 0n;
  const tasks = {
    list: async () => running as never,
    metrics: async (filters?: readonly string[]) => {
      t.same(filters, ['id==b']);
      asked += 1n;
      return [ofV2(asked * 250_000n, asked)];
    },
  };
  const seen: (number | undefined)[] = [];
  {
    await using readings = watchUsage(tasks, { intervalMs: 1 });
    for await (const [reading] of readings) if (seen.push(reading?.cpuPercent) === 3) break;
  }
  t.same(seen, [undefined, 25, 25]);
});

t.test('a block that ends in the middle of a call, or of a pause, does not wait for it', async (t) => {
  const tasks = {
    list: async () => running as never,
    metrics: (_filters?: readonly string[], options?: { readonly signal?: AbortSignal | undefined }) =>
      new Promise<types.Metric[]>((_resolve, reject) => {
        options?.signal?.addEventListener('abort', () => reject(cancelled('given up')));
      }),
  };
  const stuck = watchUsage(tasks);
  const next = stuck.next();
  await new Promise((resolve) => setImmediate(resolve));
  await stuck[Symbol.asyncDispose]();
  t.same(await next, { done: true, value: undefined });

  const patient = watchUsage({ ...tasks, metrics: async () => [ofV2(1n, 1n)] }, { intervalMs: 3_600_000 });
  await patient.next();
  const second = patient.next();
  await new Promise((resolve) => setImmediate(resolve));
  await patient[Symbol.asyncDispose]();
  t.match(await second, { done: true });
});
