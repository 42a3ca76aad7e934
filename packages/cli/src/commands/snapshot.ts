/** The noun `snapshot`. */
import { snapshots } from '@gantry/api';
import { toDate } from '@gantry/client';
import type { Command, Context } from '../args/command.ts';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine, jsonText } from '../output/json.ts';
import { sentence } from '../output/sentence.ts';
import { formatTable } from '../output/table.ts';
import { ago, decimalSize } from '../output/units.ts';
import { arg } from './flags.ts';
import { collect, eachArgument, filterUsage, listCommand } from './list-command.ts';
import { snapshotMakeCommands } from './snapshot-make.ts';
import { mountLines, snapshotterFlag, storeOf } from './snapshot-store.ts';

const flags = snapshotterFlag;

const kindNames: ReadonlyMap<number, string> = new Map(
  Object.entries(snapshots.Kind).map(([name, value]) => [value, name.charAt(0) + name.slice(1).toLowerCase()]),
);

export const snapshotCommands: readonly Command[] = [
  listCommand<snapshots.Info>(
    ['snapshot ls', 'snapshots ls'],
    'Lists snapshots',
    [
      { header: 'KEY', value: (row) => row.name },
      { header: 'PARENT', value: (row) => row.parent },
      { header: 'KIND', value: (row) => kindNames.get(row.kind) ?? '' },
      { header: 'AGE', value: (row) => ago(toDate(row.createdAt)) },
    ],
    (context) => collect(storeOf(context).list(context.parsed.args)),
    flags,
    filterUsage,
  ),
  {
    name: 'snapshot info',
    aliases: ['snapshot inspect', 'snapshots info'],
    usage: 'KEY',
    summary: 'Everything known of a snapshot, as JSON',
    flags,
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      const key = arg(context.parsed, 0);
      const { name, parent, kind, labels, createdAt, updatedAt } = await storeOf(context).stat(key);
      const { size, inodes } = await storeOf(context).usage(key);
      const about = {
        name,
        parent,
        kind: kindNames.get(kind),
        labels,
        createdAt: toDate(createdAt)?.toISOString(),
        updatedAt: toDate(updatedAt)?.toISOString(),
        usage: { sizeBytes: size, inodes },
      };
      context.write(context.format === 'json' ? jsonLine(about) : jsonText(about));
      return 0;
    },
  },
  {
    name: 'snapshot usage',
    aliases: ['snapshots usage'],
    usage: '[KEY...]',
    summary: 'What snapshots take on the disk, without their parents',
    flags,
    minArgs: 0,
    maxArgs: Infinity,
    run: usage,
  },
  {
    name: 'snapshot mounts',
    aliases: ['snapshots mounts'],
    usage: 'KEY TARGET',
    summary: 'The mount command of an active snapshot or a view',
    flags,
    minArgs: 2,
    maxArgs: 2,
    run: async (context) => {
      const target = arg(context.parsed, 1);
      const mounts = await storeOf(context).mounts(arg(context.parsed, 0));
      context.write(mountLines(mounts, target));
      if (mounts.some(({ options }) => options.some((option) => /^[ug]idmap=/.test(option)))) {
        context.warn(
          'mount(8) does not know uidmap= and gidmap=: whoever mounts this has to map the ids of the layers',
        );
      }
      return 0;
    },
  },
  {
    name: 'snapshot rm',
    aliases: ['snapshots rm', 'snapshot remove'],
    usage: 'KEY...',
    summary: 'Removes snapshots that have no children',
    flags,
    minArgs: 1,
    maxArgs: Infinity,
    run: async (context) => {
      const remove = async (key: string): Promise<void> => storeOf(context).remove(key);
      const good = await eachArgument(context, remove, (err) => context.warn(sentence(err)));
      return good ? 0 : gantryFailed;
    },
  },
  ...snapshotMakeCommands,
];

async function usage(context: Context): Promise<number> {
  const store = storeOf(context);
  const given = context.parsed.args;
  const names = given.length > 0 ? given : (await collect(store.list())).map(({ name }) => name);
  const rows: { readonly key: string; readonly sizeBytes: number; readonly inodes: number }[] = [];
  for (const key of names) {
    const { size, inodes } = await store.usage(key);
    rows.push({ key, sizeBytes: Number(size), inodes: Number(inodes) });
  }
  const columns = [
    { header: 'KEY', value: (row: (typeof rows)[number]) => row.key },
    { header: 'SIZE', value: (row: (typeof rows)[number]) => decimalSize(row.sizeBytes) },
    { header: 'INODES', value: (row: (typeof rows)[number]) => String(row.inodes) },
  ];
  context.write(context.format === 'json' ? rows.map(jsonLine).join('') : formatTable(columns, rows));
  return 0;
}
