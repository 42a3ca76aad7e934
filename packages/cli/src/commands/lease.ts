/** The noun `lease`: what garbage collection must leave alone. */
import type { leases } from '@gantry/api';
import { toDate } from '@gantry/client';
import type { Command } from '../args/command.ts';
import { parseSeconds } from '../args/values.ts';
import { invalidArgument } from '@gantry/errors';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine } from '../output/json.ts';
import { sentence } from '../output/sentence.ts';
import { formatTable } from '../output/table.ts';
import { arg, flagGiven, flagValue } from './flags.ts';
import { eachArgument, labelsText, listCommand } from './list-command.ts';

export const leaseCommands: readonly Command[] = [
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
  {
    name: 'lease create',
    aliases: ['leases create'],
    usage: '[KEY=VALUE...]',
    summary: 'Makes a lease and prints its id; arguments are its labels',
    flags: {
      id: { type: 'string', value: 'ID', help: 'default: a random one' },
      expires: { type: 'string', short: 'x', value: 'SECONDS', help: 'default 86400 (a day); 0 for never' },
    },
    minArgs: 0,
    maxArgs: Infinity,
    run: async (context) => {
      const { parsed } = context;
      const labels = parsed.args.map((text): [string, string] => {
        const equals = text.indexOf('=');
        if (equals <= 0) throw invalidArgument(`"${text}" is not KEY=VALUE`);
        return [text.slice(0, equals), text.slice(equals + 1)];
      });
      const lease = await context.client().leases.create({
        id: parsed.strings.get('id'),
        labels: Object.fromEntries(labels),
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
