/** `gantry prune`: images that no container uses go. */
import { createInterface } from 'node:readline/promises';
import type { Client, ImageRecord } from '@gantry/client';
import { invalidArgument, isCode } from '@gantry/errors';
import type { Command, Context } from '../args/command.ts';
import { imageFilter } from '../images/filters.ts';
import { hasTag, imageRow } from '../images/rows.ts';
import type { ImageRow } from '../images/rows.ts';
import { jsonLine } from '../output/json.ts';
import { visible } from '../output/table.ts';
import { decimalSize } from '../output/units.ts';
import { flagGiven } from './flags.ts';

const filterKeys = ['until', 'label', 'label!'];

export const pruneCommand: Command = {
  name: 'prune',
  aliases: ['image prune', 'i prune'],
  usage: '',
  summary: 'Removes images without a tag that no container uses; with --all every image that no container uses',
  flags: {
    all: { type: 'boolean', short: 'a', help: 'also images with a tag' },
    filter: { type: 'list', value: 'KEY=VALUE', help: `only those: ${filterKeys.join(', ')}` },
    force: { type: 'boolean', short: 'f', help: 'do not ask' },
  },
  minArgs: 0,
  maxArgs: 0,
  run,
};

async function run(context: Context): Promise<number> {
  const client = context.client();
  const all = flagGiven(context.parsed, 'all');
  const rows: ImageRow[] = [];
  for (const image of await unused(client)) if (all || !hasTag(image.name)) rows.push(await imageRow(client, image));
  const holds = imageFilter(context.parsed.lists.get('filter') ?? [], rows, filterKeys);
  const doomed = rows.filter(holds).map(({ image }) => image);
  if (!flagGiven(context.parsed, 'force') && !(await agrees(doomed.length))) return 0;
  const before = await usedBytes(client);
  const removed: string[] = [];
  for (const { name, target } of doomed) {
    try {
      await client.images.remove(name, { sync: name === doomed.at(-1)?.name });
      removed.push(name);
      if (context.format === 'table') context.write(`Deleted: ${visible(name)} (${target?.digest ?? ''})\n`);
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    }
  }
  const reclaimedBytes = Math.max(0, before - (await usedBytes(client)));
  if (context.format === 'json') context.write(jsonLine({ removed, reclaimedBytes }));
  else context.write(`Total reclaimed space: ${decimalSize(reclaimedBytes)}\n`);
  return 0;
}

async function unused(client: Client): Promise<ImageRecord[]> {
  const [images, containers] = await Promise.all([client.images.list(), client.containers.list()]);
  const used = new Set(containers.map(({ image }) => image));
  // A container holds its image's content by name; a second name of the same image is not needed for that.
  return images.filter(({ name }) => !used.has(name));
}

/** Without a terminal there is nobody to ask. */
async function agrees(count: number): Promise<boolean> {
  if (!process.stdin.isTTY) throw invalidArgument('nobody can be asked here: say --force');
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(`Remove ${count} images? [y/N] `)).trim());
  } finally {
    lines.close();
  }
}

/** Blobs and snapshots of the namespace. */
async function usedBytes(client: Client): Promise<number> {
  let bytes = 0n;
  for await (const { size } of client.content.list()) bytes += size;
  for await (const { name } of client.snapshots.list()) {
    const usage = await client.snapshots.usage(name).catch((err: unknown) => {
      if (isCode(err, 'not found')) return undefined;
      throw err;
    });
    bytes += usage?.size ?? 0n;
  }
  return Number(bytes);
}
