/** What the `… ls` commands of the API's nouns have in common. */
import type { Command, Context, FlagTable } from '../args/command.ts';
import { jsonLine } from '../output/json.ts';
import { formatTable, visible } from '../output/table.ts';
import type { Column } from '../output/table.ts';
import { flagGiven } from './flags.ts';

/** For lists that the server filters: the filters as arguments, as ctr's, and the first column alone. */
export const filterUsage = '[FILTER...]';
export const quietFlag: FlagTable = { quiet: { type: 'boolean', short: 'q', help: 'only the first column' } };

/**
 * What it lists and how a row looks. JSON output is the API's own message. With `filterUsage` as usage its arguments are the
 * API's filters (`labels.a==b`, several are alternatives).
 */
export function listCommand<T>(
  names: readonly [name: string, ...aliases: string[]],
  summary: string,
  columns: readonly Column<T>[],
  list: (context: Context) => Promise<readonly T[]>,
  flags: FlagTable = {},
  usage: '' | typeof filterUsage = '',
): Command {
  const [name, ...aliases] = names;
  return {
    name,
    aliases,
    usage,
    summary,
    flags: { ...quietFlag, ...flags },
    minArgs: 0,
    maxArgs: usage === '' ? 0 : Infinity,
    run: async (context) => {
      const rows = await list(context);
      const [first] = columns;
      if (flagGiven(context.parsed, 'quiet') && first !== undefined) {
        context.write(rows.map((row) => `${visible(first.value(row))}\n`).join(''));
        return 0;
      }
      context.write(context.format === 'json' ? rows.map(jsonLine).join('') : formatTable(columns, rows));
      return 0;
    },
  };
}

export function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Runs for each positional; what fails is told, and the others go on. */
export async function eachArgument(
  context: Context,
  work: (text: string) => Promise<void>,
  failed: (err: unknown) => void,
): Promise<boolean> {
  let good = true;
  for (const text of context.parsed.args) {
    try {
      await work(text);
      context.write(`${text}\n`);
    } catch (err) {
      failed(err);
      good = false;
    }
  }
  return good;
}
