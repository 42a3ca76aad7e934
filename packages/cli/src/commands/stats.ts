/** `gantry stats`: what running containers use. */
import type { TaskStats } from '@gantry/client';
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

async function run(context: Context): Promise<number> {
  const client = context.client();
  const ids: string[] = [];
  for (const text of context.parsed.args) ids.push(await resolveId(client, text));
  const once = flagGiven(context.parsed, 'no-stream');
  const wanted = ids.length === 0 ? undefined : ids;
  await using readings = client.stats({ ids: wanted, intervalMs: once ? firstIntervalMs : intervalMs });
  await readings.next(); // without a share of the processor time
  for await (const rows of readings) {
    print(context, rows, !once);
    if (once) break;
  }
  return 0;
}

function print(context: Context, rows: readonly TaskStats[], redraw: boolean): void {
  if (context.format === 'json') {
    for (const { atNs: _, ...row } of rows) context.write(jsonLine(row));
    return;
  }
  const size = (bytes: bigint | undefined): string => (bytes === undefined ? '-' : binarySize(Number(bytes)));
  const columns = [
    { header: 'CONTAINER ID', value: (row: TaskStats) => shortId(row.id) },
    {
      header: 'CPU %',
      value: (row: TaskStats) => (row.cpuPercent === undefined ? '-' : `${row.cpuPercent.toFixed(2)}%`),
    },
    {
      header: 'MEM USAGE / LIMIT',
      value: (row: TaskStats) =>
        `${size(row.memoryBytes)} / ${row.memoryBytes !== undefined && row.memoryLimitBytes === undefined ? 'none' : size(row.memoryLimitBytes)}`,
    },
    { header: 'PIDS', value: (row: TaskStats) => row.pids?.toString() ?? '-' },
  ];
  const clear = redraw && process.stdout.isTTY ? '\u001b[H\u001b[2J' : '';
  context.write(clear + formatTable(columns, rows));
}
