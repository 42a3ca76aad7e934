/** Verbs about the names of images: images, tag. */
import type { Command, Context } from '../args/command.ts';
import { imageFilter, imageFilterKeys } from '../images/filters.ts';
import { imageRow } from '../images/rows.ts';
import type { ImageRow } from '../images/rows.ts';
import { jsonLine } from '../output/json.ts';
import { formatTable } from '../output/table.ts';
import type { Column } from '../output/table.ts';
import { ago, decimalSize } from '../output/units.ts';
import { arg, flagGiven } from './flags.ts';

export const imagesCommand: Command = {
  name: 'images',
  aliases: ['image ls', 'image list', 'i ls'],
  usage: '[REPOSITORY[:TAG]]',
  summary: 'Lists images',
  flags: {
    all: { type: 'boolean', short: 'a', help: 'there are no hidden ones; taken for the sake of habit' },
    digests: { type: 'boolean', help: 'also the digest a registry knows the image by' },
    filter: { type: 'list', short: 'f', value: 'KEY=VALUE', help: imageFilterKeys.join(', ') },
    quiet: { type: 'boolean', short: 'q', help: 'ids only' },
    'no-trunc': { type: 'boolean', help: 'whole ids' },
  },
  minArgs: 0,
  maxArgs: 1,
  run: listImages,
};

export const tagCommand: Command = {
  name: 'tag',
  aliases: ['image tag', 'i tag'],
  usage: 'IMAGE NAME',
  summary: 'Gives an image a further name',
  flags: {},
  minArgs: 2,
  maxArgs: 2,
  run: async (context) => {
    await context.client().images.tag(arg(context.parsed, 0), arg(context.parsed, 1));
    return 0;
  },
};

async function listImages(context: Context): Promise<number> {
  const client = context.client();
  const all: ImageRow[] = [];
  for (const image of await client.images.list()) all.push(await imageRow(client, image));
  const [reference] = context.parsed.args;
  const filters = context.parsed.lists.get('filter') ?? [];
  const holds = imageFilter([...filters, ...(reference === undefined ? [] : [`reference=${reference}`])], all);
  const rows = all.filter(holds);
  const whole = flagGiven(context.parsed, 'no-trunc');
  const idOf = (row: ImageRow): string => (whole ? row.id : row.id.replace(/^sha256:/, '').slice(0, 12));
  if (flagGiven(context.parsed, 'quiet')) {
    context.write(rows.map((row) => `${idOf(row)}\n`).join(''));
  } else if (context.format === 'json') {
    context.write(rows.map((row) => jsonLine(toJson(row))).join(''));
  } else {
    context.write(formatTable(columnsOf(idOf, flagGiven(context.parsed, 'digests')), rows));
  }
  return 0;
}

function columnsOf(idOf: (row: ImageRow) => string, digests: boolean): Column<ImageRow>[] {
  return [
    { header: 'REPOSITORY', value: (row) => row.repository },
    { header: 'TAG', value: (row) => row.tag },
    ...(digests ? [{ header: 'DIGEST', value: (row: ImageRow) => row.image.target?.digest ?? '' }] : []),
    { header: 'IMAGE ID', value: idOf },
    { header: 'PLATFORM', value: (row) => row.platform },
    { header: 'CREATED', value: (row) => ago(row.created) },
    { header: 'SIZE', value: (row) => (row.sizeBytes === undefined ? '' : decimalSize(row.sizeBytes)) },
  ];
}

function toJson(row: ImageRow): Record<string, unknown> {
  return {
    name: row.image.name,
    repository: row.repository,
    tag: row.tag,
    id: row.id,
    digest: row.image.target?.digest,
    mediaType: row.image.target?.mediaType,
    platform: row.platform,
    createdAt: row.created?.toISOString(),
    sizeBytes: row.sizeBytes,
    labels: row.image.labels,
  };
}
