/** `gantry stats`: what running containers use. */
import { isLive } from '@gantry/client';
import type { Client } from '@gantry/client';
import { cgroupsV1, cgroupsV2, timestampToNs, unpackAny } from '@gantry/api';
import type { types } from '@gantry/api';
import type { Command, Context } from '../args/command.ts';
import { resolveId, shortId } from '../containers/ids.ts';
import { jsonLine } from '../output/json.ts';
import { formatTable } from '../output/table.ts';
import { binarySize } from '../output/units.ts';
import { flagGiven } from './flags.ts';

/** Between two samples: the shortest time over which a share of processor time says something. */
const intervalMs = 1000;
const firstIntervalMs = 250;

export const statsCommand: Command = {
  name: 'stats',
  usage: '[CONTAINER...]',
  summary: 'Shows processor time, memory and processes of running containers',
  flags: { 'no-stream': { type: 'boolean', help: 'once' } },
  minArgs: 0,
  maxArgs: Infinity,
  run,
};

/** One reading; `undefined` where the kernel gave none. */
interface Sample {
  readonly id: string;
  readonly atNs: bigint;
  readonly cpuNs: bigint | undefined;
  readonly memoryBytes: bigint | undefined;
  readonly memoryLimitBytes: bigint | undefined;
  readonly pids: bigint | undefined;
}

interface Row extends Sample {
  /** Percent of one processor since the sample before. */
  readonly cpuPercent: number | undefined;
}

async function run(context: Context): Promise<number> {
  const client = context.client();
  const ids: string[] = [];
  for (const text of context.parsed.args) ids.push(await resolveId(client, text));
  const once = flagGiven(context.parsed, 'no-stream');
  let previous = await sample(client, ids);
  let waitMs = firstIntervalMs;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    waitMs = intervalMs;
    const current = await sample(client, ids);
    print(
      context,
      current.map((reading) => withShare(reading, previous)),
      !once,
    );
    if (once) return 0;
    previous = current;
  }
}

async function sample(client: Client, ids: readonly string[]): Promise<Sample[]> {
  const running = (await client.tasks.list())
    .filter(isLive)
    .map((task) => (task.id === '' ? task.containerId : task.id));
  const wanted = new Set(ids.length === 0 ? running : running.filter((id) => ids.includes(id)));
  if (wanted.size === 0) return [];
  const metrics = await client.tasks.metrics([...wanted].map((id) => `id==${id}`));
  return metrics.filter((metric) => wanted.has(metric.id)).map(toSample);
}

function toSample(metric: types.Metric): Sample {
  const atNs = metric.timestamp === undefined ? process.hrtime.bigint() : timestampToNs(metric.timestamp);
  const type = metric.data?.typeUrl ?? '';
  const base = { id: metric.id, atNs };
  if (type.endsWith(cgroupsV1.Metrics.typeName)) {
    const { cpu, memory, pids } = unpackAny(cgroupsV1.Metrics, metric.data ?? { typeUrl: '', value: new Uint8Array() });
    const usage = memory?.usage;
    return {
      ...base,
      cpuNs: cpu?.usage?.total,
      memoryBytes: usage === undefined ? undefined : withoutCache(usage.usage, memory?.totalInactiveFile),
      memoryLimitBytes: usage?.limit,
      pids: pids?.current,
    };
  }
  if (type.endsWith(cgroupsV2.Metrics.typeName)) {
    const { cpu, memory, pids } = unpackAny(cgroupsV2.Metrics, metric.data ?? { typeUrl: '', value: new Uint8Array() });
    return {
      ...base,
      cpuNs: cpu === undefined ? undefined : cpu.usageUsec * 1000n,
      memoryBytes: memory === undefined ? undefined : withoutCache(memory.usage, memory.inactiveFile),
      memoryLimitBytes: memory?.usageLimit,
      pids: pids?.current,
    };
  }
  return { ...base, cpuNs: undefined, memoryBytes: undefined, memoryLimitBytes: undefined, pids: undefined };
}

/** As docker counts: page cache that can go at any time is not the container's. */
function withoutCache(usage: bigint, inactiveFile = 0n): bigint {
  return usage > inactiveFile ? usage - inactiveFile : usage;
}

function withShare(current: Sample, earlier: readonly Sample[]): Row {
  const before = earlier.find((reading) => reading.id === current.id);
  if (before?.cpuNs === undefined || current.cpuNs === undefined || current.atNs <= before.atNs) {
    return { ...current, cpuPercent: undefined };
  }
  return { ...current, cpuPercent: (Number(current.cpuNs - before.cpuNs) / Number(current.atNs - before.atNs)) * 100 };
}

/** A limit near the top of 64 bits means none. */
const noLimitBytes = 1n << 60n;

function print(context: Context, rows: readonly Row[], redraw: boolean): void {
  if (context.format === 'json') {
    for (const { atNs: _, ...row } of rows) context.write(jsonLine(row));
    return;
  }
  const size = (bytes: bigint | undefined): string =>
    bytes === undefined ? '-' : bytes >= noLimitBytes ? 'none' : binarySize(Number(bytes));
  const columns = [
    { header: 'CONTAINER ID', value: (row: Row) => shortId(row.id) },
    { header: 'CPU %', value: (row: Row) => (row.cpuPercent === undefined ? '-' : `${row.cpuPercent.toFixed(2)}%`) },
    {
      header: 'MEM USAGE / LIMIT',
      value: (row: Row) => `${size(row.memoryBytes)} / ${size(row.memoryLimitBytes)}`,
    },
    { header: 'PIDS', value: (row: Row) => row.pids?.toString() ?? '-' },
  ];
  const clear = redraw && process.stdout.isTTY ? '\u001b[H\u001b[2J' : '';
  context.write(clear + formatTable(columns, rows));
}
