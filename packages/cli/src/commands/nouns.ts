/** The API's own nouns, for looking under the hood: namespace, content, snapshot, lease, task. */
import type { namespaces } from '@gantry/api';
import { statusName } from '@gantry/client';
import type { TaskInfo } from '@gantry/client';
import type { Command } from '../args/command.ts';
import { contentCommands } from './content.ts';
import { arg, keyValues } from './flags.ts';
import { leaseCommands } from './lease.ts';
import { labelsText, listCommand } from './list-command.ts';
import { snapshotCommands } from './snapshot.ts';

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
    usage: 'NAME [KEY=VALUE...]',
    summary: 'Makes a namespace; further arguments are its labels',
    flags: {},
    minArgs: 1,
    maxArgs: Infinity,
    run: async (context) => {
      const [name = '', ...labels] = context.parsed.args;
      await context.client().namespaces.create(name, keyValues(labels, 'a label'));
      return 0;
    },
  },
  {
    name: 'namespace label',
    aliases: ['namespaces label', 'ns label'],
    usage: 'NAME KEY=VALUE...',
    summary: 'Labels a namespace; an empty value removes the label',
    flags: {},
    minArgs: 2,
    maxArgs: Infinity,
    run: async (context) => {
      const [name = '', ...labels] = context.parsed.args;
      await context.client().namespaces.setLabels(name, keyValues(labels, 'a label'));
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
  ...contentCommands,
  ...snapshotCommands,
  ...leaseCommands,
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
