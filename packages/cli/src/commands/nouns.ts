/** The API's own nouns, for looking under the hood: namespace, content, snapshot, lease, task. */
import { statusName, toDate } from '@gantry/client';
import type { TaskInfo } from '@gantry/client';
import { snapshots } from '@gantry/api';
import type { content, leases, namespaces } from '@gantry/api';
import type { Command, Context } from '../args/command.ts';
import { jsonLine } from '../output/json.ts';
import { formatTable } from '../output/table.ts';
import type { Column } from '../output/table.ts';
import { ago, decimalSize } from '../output/units.ts';
import { arg } from './flags.ts';

/** A `… ls` command: what it lists and how a row looks. JSON output is the API's own message. */
function listCommand<T>(
  names: readonly [name: string, ...aliases: string[]],
  summary: string,
  columns: readonly Column<T>[],
  list: (context: Context) => Promise<readonly T[]>,
): Command {
  const [name, ...aliases] = names;
  return {
    name,
    aliases,
    usage: '',
    summary,
    flags: {},
    minArgs: 0,
    maxArgs: 0,
    run: async (context) => {
      const rows = await list(context);
      context.write(context.format === 'json' ? rows.map(jsonLine).join('') : formatTable(columns, rows));
      return 0;
    },
  };
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const kindNames: ReadonlyMap<number, string> = new Map(
  Object.entries(snapshots.Kind).map(([name, value]) => [value, name.charAt(0) + name.slice(1).toLowerCase()]),
);

export const nounCommands: readonly Command[] = [
  listCommand<namespaces.Namespace>(
    ['namespace ls', 'namespaces ls', 'ns ls'],
    'Lists namespaces',
    [
      { header: 'NAME', value: (row) => row.name },
      { header: 'LABELS', value: (row) => labelsText(row.labels) },
    ],
    (context) => context.client().namespaces.list(),
  ),
  {
    name: 'namespace create',
    aliases: ['ns create'],
    usage: 'NAME',
    summary: 'Makes a namespace',
    flags: {},
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      await context.client().namespaces.create(arg(context.parsed, 0));
      return 0;
    },
  },
  {
    name: 'namespace rm',
    aliases: ['ns rm'],
    usage: 'NAME',
    summary: 'Removes an empty namespace',
    flags: {},
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      await context.client().namespaces.delete(arg(context.parsed, 0));
      return 0;
    },
  },
  listCommand<content.Info>(
    ['content ls'],
    'Lists blobs',
    [
      { header: 'DIGEST', value: (row) => row.digest },
      { header: 'SIZE', value: (row) => decimalSize(Number(row.size)) },
      { header: 'AGE', value: (row) => ago(toDate(row.createdAt)) },
      { header: 'LABELS', value: (row) => labelsText(row.labels) },
    ],
    (context) => collect(context.client().content.list()),
  ),
  {
    name: 'content get',
    usage: 'DIGEST',
    summary: 'Writes a blob to stdout',
    flags: {},
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      for await (const chunk of context.client().content.read(arg(context.parsed, 0))) {
        await new Promise<void>((resolve, reject) => {
          process.stdout.write(chunk, (err) => (err ? reject(err) : resolve()));
        });
      }
      return 0;
    },
  },
  listCommand<snapshots.Info>(
    ['snapshot ls', 'snapshots ls'],
    'Lists snapshots of the default snapshotter',
    [
      { header: 'KEY', value: (row) => row.name },
      { header: 'PARENT', value: (row) => row.parent },
      { header: 'KIND', value: (row) => kindNames.get(row.kind) ?? '' },
    ],
    (context) => collect(context.client().snapshots.list()),
  ),
  listCommand<leases.Lease>(
    ['lease ls', 'leases ls'],
    'Lists leases',
    [
      { header: 'LEASE ID', value: (row) => row.id },
      { header: 'CREATED AT', value: (row) => toDate(row.createdAt)?.toISOString() ?? '' },
      { header: 'LABELS', value: (row) => labelsText(row.labels) },
    ],
    (context) => context.client().leases.list(),
  ),
  listCommand<TaskInfo>(
    ['task ls', 'tasks ls', 't ls'],
    'Lists tasks',
    [
      { header: 'TASK', value: (row) => (row.id === '' ? row.containerId : row.id) },
      { header: 'PID', value: (row) => String(row.pid) },
      { header: 'STATUS', value: (row) => statusName(row.status).toUpperCase() },
    ],
    (context) => context.client().tasks.list(),
  ),
];
