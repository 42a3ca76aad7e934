/** The noun `lease`: what garbage collection must leave alone. */
import type { leases } from '@gantry/api';
import { toDate } from '@gantry/client';
import type { Command } from '../args/command.ts';
import { parseSeconds } from '../args/values.ts';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine } from '../output/json.ts';
import { sentence } from '../output/sentence.ts';
import { formatTable } from '../output/table.ts';
import { arg, flagGiven, flagValue, keyValues } from './flags.ts';
import { eachArgument, filterUsage, labelsText, listCommand } from './list-command.ts';

export const leaseCommands: readonly Command[] = [
  listCommand<leases.Lease>(
    ['lease ls', 'leases ls'],
    'Lists leases',
    [
      { header: 'LEASE ID', value: (row) => row.id },
      { header: 'CREATED AT', value: (row) => toDate(row.createdAt)?.toISOString() ?? '' },
      { header: 'LABELS', value: (row) => labelsText(row.labels) },
    ],
    (context) => context.client().leases.list(context.parsed.args),
    {},
    filterUsage,
  ),
  ...['add', 'remove'].map(resourceCommand),
  {
    name: 'lease create',
    aliases: ['leases create'],
    usage: '[KEY=VALUE...]',
    summary: 'Makes a lease and prints its id; arguments are its labels',
    flags: {
      id: { type: 'string', value: 'ID', help: 'default: a random one' },
      expires: { type: 'string', short: 'x', value: 'TIME', help: 'such as 3600 or 1h30m; default a day; 0 for never' },
    },
    minArgs: 0,
    maxArgs: Infinity,
    run: async (context) => {
      const { parsed } = context;
      const labels = keyValues(parsed.args, 'a label');
      const lease = await context.client().leases.create({
        id: parsed.strings.get('id'),
        labels,
        expiresInMs: flagValue(parsed, 'expires', (text) => parseSeconds(text, '--expires')),
      });
      context.write(context.format === 'json' ? jsonLine(lease) : `${lease.id}\n`);
      return 0;
    },
  },
  {
    name: 'lease resources',
    aliases: ['leases resources'],
    usage: 'ID',
    summary: 'Lists what a lease holds',
    flags: {},
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      const rows = await context.client().leases.resources(arg(context.parsed, 0));
      const columns = [
        { header: 'TYPE', value: (row: leases.Resource) => row.type },
        { header: 'ID', value: (row: leases.Resource) => row.id },
      ];
      context.write(context.format === 'json' ? rows.map(jsonLine).join('') : formatTable(columns, rows));
      return 0;
    },
  },
  {
    name: 'lease rm',
    aliases: ['leases rm'],
    usage: 'ID...',
    summary: 'Ends leases; what only they held is collected',
    flags: { sync: { type: 'boolean', help: 'wait until it is collected' } },
    minArgs: 1,
    maxArgs: Infinity,
    run: async (context) => {
      const sync = flagGiven(context.parsed, 'sync');
      const remove = async (id: string): Promise<void> => context.client().leases.delete(id, { sync });
      const good = await eachArgument(context, remove, (err) => context.warn(sentence(err)));
      return good ? 0 : gantryFailed;
    },
  },
];

/** `lease add` and `lease remove`: one thing more or less that a lease holds. */
function resourceCommand(verb: string): Command {
  return {
    name: `lease ${verb}`,
    aliases: [`leases ${verb}`],
    usage: 'ID TYPE RESOURCE',
    summary: `${verb === 'add' ? 'Has a lease hold' : 'Has a lease let go of'} content, ingests, images or snapshots/NAME`,
    flags: {},
    minArgs: 3,
    maxArgs: 3,
    run: async (context) => {
      const [lease = '', type = '', id = ''] = context.parsed.args;
      const { leases } = context.client();
      await (verb === 'add' ? leases.addResource(lease, { id, type }) : leases.removeResource(lease, { id, type }));
      return 0;
    },
  };
}
