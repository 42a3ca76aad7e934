/** `gantry ps`: containers and what they do. */
import { isLive, specOf, toDate } from '@gantry/client';
import type { Client, ContainerRecord, TaskInfo } from '@gantry/client';
import { familiarReference, parseReference } from '@gantry/oci';
import type { Command, Context } from '../args/command.ts';
import { shortId } from '../containers/ids.ts';
import { describeState } from '../containers/state.ts';
import { jsonLine } from '../output/json.ts';
import { formatTable } from '../output/table.ts';
import { ago } from '../output/units.ts';
import { flagGiven } from './flags.ts';

const shownCommandLength = 24;

export const psCommand: Command = {
  name: 'ps',
  aliases: ['container ls', 'c ls', 'containers ls'],
  usage: '',
  summary: 'Lists running containers',
  flags: {
    all: { type: 'boolean', short: 'a', help: 'also those that do not run' },
    quiet: { type: 'boolean', short: 'q', help: 'ids only' },
    'no-trunc': { type: 'boolean', help: 'whole ids and commands' },
  },
  minArgs: 0,
  maxArgs: 0,
  run,
};

interface Row {
  readonly container: ContainerRecord;
  readonly task: TaskInfo | undefined;
}

async function run(context: Context): Promise<number> {
  const { parsed } = context;
  const rows = await listContainers(context.client(), flagGiven(parsed, 'all'));
  const whole = flagGiven(parsed, 'no-trunc');
  const idOf = (row: Row): string => (whole ? row.container.id : shortId(row.container.id));
  if (flagGiven(parsed, 'quiet')) {
    context.write(rows.map((row) => `${idOf(row)}\n`).join(''));
  } else if (context.format === 'json') {
    context.write(rows.map((row) => jsonLine(toJson(row))).join(''));
  } else {
    const columns = [
      { header: 'CONTAINER ID', value: idOf },
      { header: 'IMAGE', value: ({ container }: Row) => familiarName(container.image) },
      { header: 'COMMAND', value: ({ container }: Row) => commandOf(container, whole) },
      { header: 'CREATED', value: ({ container }: Row) => ago(toDate(container.createdAt)) },
      { header: 'STATUS', value: ({ task }: Row) => describeState(task) },
      { header: 'PID', value: ({ task }: Row) => (task !== undefined && isLive(task) ? String(task.pid) : '') },
    ];
    context.write(formatTable(columns, rows));
  }
  return 0;
}

/** Newest first. Without `all`, those that run. */
async function listContainers(client: Client, all: boolean): Promise<Row[]> {
  const [containers, tasks] = await Promise.all([client.containers.list(), client.tasks.list()]);
  const byId = new Map(tasks.map((task) => [task.id === '' ? task.containerId : task.id, task]));
  const created = (row: Row): number => toDate(row.container.createdAt)?.getTime() ?? 0;
  return containers
    .map((container) => ({ container, task: byId.get(container.id) }))
    .filter(({ task }) => all || (task !== undefined && isLive(task)))
    .toSorted((a, b) => created(b) - created(a));
}

function toJson({ container, task }: Row): Record<string, unknown> {
  return {
    id: container.id,
    image: container.image,
    command: commandOf(container, true),
    createdAt: toDate(container.createdAt)?.toISOString(),
    status: describeState(task),
    running: task !== undefined && isLive(task),
    pid: task !== undefined && isLive(task) ? task.pid : 0,
    exitStatus: task !== undefined && !isLive(task) ? task.exitStatus : undefined,
    labels: container.labels,
  };
}

/** The short form of a full name; anything else as it is. */
export function familiarName(name: string): string {
  try {
    return familiarReference(parseReference(name));
  } catch {
    return name;
  }
}

function commandOf(container: ContainerRecord, whole: boolean): string {
  let command: string;
  try {
    command = (specOf(container).process?.args ?? []).join(' ');
  } catch {
    return '';
  }
  const shown =
    whole || command.length <= shownCommandLength ? command : `${command.slice(0, shownCommandLength - 1)}…`;
  return `"${shown}"`;
}
