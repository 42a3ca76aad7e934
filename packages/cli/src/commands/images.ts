/** Verbs about the names of images: images, rmi, tag. */
import { failedPrecondition, isCode } from '@gantry/errors';
import { toDate } from '@gantry/client';
import type { Client, ImageRecord } from '@gantry/client';
import { formatPlatform, parseReference } from '@gantry/oci';
import type { Command, Context } from '../args/command.ts';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine } from '../output/json.ts';
import { formatTable } from '../output/table.ts';
import { ago, decimalSize } from '../output/units.ts';
import { arg, flagGiven } from './flags.ts';
import { familiarName } from './ps.ts';
import { sentence } from '../output/sentence.ts';

export const imagesCommand: Command = {
  name: 'images',
  aliases: ['image ls', 'i ls'],
  usage: '',
  summary: 'Lists images',
  flags: {
    quiet: { type: 'boolean', short: 'q', help: 'ids only' },
    'no-trunc': { type: 'boolean', help: 'whole ids' },
  },
  minArgs: 0,
  maxArgs: 0,
  run: listImages,
};

export const rmiCommand: Command = {
  name: 'rmi',
  aliases: ['image rm', 'i rm'],
  usage: 'IMAGE...',
  summary: 'Removes image names, and what only they referred to',
  flags: { force: { type: 'boolean', short: 'f', help: 'ignore what is not there' } },
  minArgs: 1,
  maxArgs: Infinity,
  run: removeImages,
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

interface Row {
  readonly image: ImageRecord;
  readonly id: string;
  readonly sizeBytes: number | undefined;
  readonly created: Date | undefined;
  readonly platform: string;
}

async function listImages(context: Context): Promise<number> {
  const client = context.client();
  const rows: Row[] = [];
  for (const image of await client.images.list()) rows.push(await describe(client, image));
  const whole = flagGiven(context.parsed, 'no-trunc');
  const idOf = (row: Row): string => (whole ? row.id : row.id.replace(/^sha256:/, '').slice(0, 12));
  if (flagGiven(context.parsed, 'quiet')) {
    context.write(rows.map((row) => `${idOf(row)}\n`).join(''));
  } else if (context.format === 'json') {
    context.write(rows.map((row) => jsonLine(toJson(row))).join(''));
  } else {
    const columns = [
      { header: 'REPOSITORY', value: (row: Row) => splitName(row.image.name).repository },
      { header: 'TAG', value: (row: Row) => splitName(row.image.name).tag },
      { header: 'IMAGE ID', value: idOf },
      { header: 'PLATFORM', value: (row: Row) => row.platform },
      { header: 'CREATED', value: (row: Row) => ago(row.created) },
      { header: 'SIZE', value: (row: Row) => (row.sizeBytes === undefined ? '' : decimalSize(row.sizeBytes)) },
    ];
    context.write(formatTable(columns, rows));
  }
  return 0;
}

/** What the image's documents say; an image without content for this host is listed all the same. */
async function describe(client: Client, image: ImageRecord): Promise<Row> {
  try {
    const { config, configDigest, manifest } = await client.images.resolve(image);
    const sizeBytes = [manifest.config, ...manifest.layers].reduce((sum, blob) => sum + blob.size, 0);
    const created = config.created === undefined ? undefined : new Date(config.created);
    const known = created !== undefined && !Number.isNaN(created.getTime()) ? created : toDate(image.createdAt);
    return { image, id: configDigest, sizeBytes, created: known, platform: formatPlatform(config) };
  } catch (err) {
    if (isCode(err, 'unavailable')) throw err;
    const id = image.target?.digest ?? '';
    return { image, id, sizeBytes: undefined, created: toDate(image.createdAt), platform: '' };
  }
}

function toJson(row: Row): Record<string, unknown> {
  return {
    name: row.image.name,
    id: row.id,
    digest: row.image.target?.digest,
    mediaType: row.image.target?.mediaType,
    platform: row.platform,
    createdAt: row.created?.toISOString(),
    sizeBytes: row.sizeBytes,
    labels: row.image.labels,
  };
}

/** `docker.io/library/busybox:1.36` is busybox and 1.36; what is no reference stays whole. */
function splitName(name: string): { repository: string; tag: string } {
  try {
    const { domain, path, tag, digest } = parseReference(name);
    const repository = familiarName(`${domain}/${path}`);
    return { repository, tag: tag ?? (digest === undefined ? '' : '<none>') };
  } catch {
    const [, repository = name, tag = ''] = /^([^@]+):([^/:]+)$/.exec(name) ?? [];
    return { repository, tag };
  }
}

/** A name is itself; an id stands for every name of its image, which are removed together only when told so. */
async function namesOf(client: Client, text: string, force: boolean): Promise<readonly string[]> {
  const images = await client.images.withId(text);
  if (images.length === 0) return [text];
  const first = await client.images.get(text);
  if (!images.some(({ name }) => name === first.name)) return [text];
  if (images.length > 1 && !force) {
    const all = images.map(({ name }) => familiarName(name)).join(', ');
    throw failedPrecondition(`image ${text} has several names (${all}): name one, or use --force`);
  }
  return images.map(({ name }) => name);
}

async function removeImages(context: Context): Promise<number> {
  const client = context.client();
  const force = flagGiven(context.parsed, 'force');
  let status = 0;
  for (const name of context.parsed.args) {
    try {
      for (const doomed of await namesOf(client, name, force)) {
        await client.images.remove(doomed, { sync: true });
        context.write(`${doomed}\n`);
      }
    } catch (err) {
      if (isCode(err, 'unavailable')) throw err;
      if (force && isCode(err, 'not found')) continue;
      context.warn(sentence(err));
      status = gantryFailed;
    }
  }
  return status;
}
