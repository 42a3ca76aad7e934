/** Verbs between the image store and archives: save, load. */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { invalidArgument, wrap } from '@gantry/errors';
import { parsePlatform } from '@gantry/oci';
import type { Command, Context } from '../args/command.ts';
import { jsonLine } from '../output/json.ts';
import { flagGiven, flagValue } from './flags.ts';
import { familiarName } from './ps.ts';

export const saveCommand: Command = {
  name: 'save',
  aliases: ['image save', 'image export', 'i export'],
  usage: 'IMAGE...',
  summary: 'Writes images as one archive that OCI tools and docker load read',
  flags: {
    output: { type: 'string', short: 'o', value: 'FILE', help: 'default: stdout' },
    platform: { type: 'list', value: 'OS/ARCH[/VARIANT]', help: "default: this host's" },
    'all-platforms': { type: 'boolean', help: 'everything the images have' },
  },
  minArgs: 1,
  maxArgs: Infinity,
  run: save,
};

export const loadCommand: Command = {
  name: 'load',
  aliases: ['image load', 'image import', 'i import'],
  usage: '',
  summary: 'Brings in images from an OCI layout or docker save archive (tar; packed with gzip, zstd, xz, bzip2)',
  flags: {
    input: { type: 'string', short: 'i', value: 'FILE', help: 'default: stdin' },
    prefix: { type: 'string', value: 'NAME', help: 'name for images that carry only a tag' },
    snapshotter: { type: 'string', value: 'NAME', help: 'where to unpack them' },
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', help: "what to unpack; default: this host's" },
    'no-unpack': { type: 'boolean', help: 'store only; running them unpacks them' },
    quiet: { type: 'boolean', short: 'q', help: 'names only' },
  },
  minArgs: 0,
  maxArgs: 0,
  run: load,
};

async function save(context: Context): Promise<number> {
  const { parsed } = context;
  const file = parsed.strings.get('output');
  const toStdout = file === undefined || file === '-';
  if (toStdout && process.stdout.isTTY) throw invalidArgument('an archive is nothing for a terminal: use -o FILE or >');
  const platforms = parsed.lists.get('platform')?.map((text) => parsePlatform(text));
  const all = flagGiven(parsed, 'all-platforms');
  const archive = context
    .client()
    .images.export(parsed.args, all ? { platforms: 'all' } : platforms === undefined ? {} : { platforms });
  // Nothing is written over before it is known that there is something to write.
  const first = await archive.next();
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    if (first.done !== true) yield first.value;
    yield* archive;
  };
  try {
    if (toStdout) await pipeline(bytes, process.stdout, { end: false });
    else await writeWhole(file, bytes);
  } catch (err) {
    throw wrap(err, toStdout ? 'writing to stdout' : `writing ${file}`);
  }
  return 0;
}

/** A file has all of it or is what it was before; what is not a file (a pipe, a device) is written to as it is. */
async function writeWhole(file: string, bytes: () => AsyncGenerator<Uint8Array>): Promise<void> {
  const there = await stat(file).catch((err: unknown) => {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined;
    throw err;
  });
  if (there !== undefined && !there.isFile()) return pipeline(bytes, createWriteStream(file));
  // A link stays one: what it points to is replaced.
  const place = there === undefined ? file : await realpath(file);
  const growing = `${place}.${randomBytes(6).toString('hex')}.part`;
  try {
    await pipeline(bytes, createWriteStream(growing, { flags: 'wx', ...(there && { mode: there.mode & 0o777 }) }));
    await rename(growing, place);
  } catch (err) {
    await rm(growing, { force: true });
    throw err;
  }
}

async function load(context: Context): Promise<number> {
  const { parsed } = context;
  const file = parsed.strings.get('input');
  const source = file === undefined || file === '-' ? process.stdin : await archiveFile(file);
  try {
    const images = await context.client().images.import(source, {
      prefix: parsed.strings.get('prefix'),
      snapshotter: parsed.strings.get('snapshotter'),
      platform: flagValue(parsed, 'platform', parsePlatform),
      unpack: !flagGiven(parsed, 'no-unpack'),
    });
    const quiet = flagGiven(parsed, 'quiet');
    for (const image of images) {
      if (context.format === 'json') context.write(jsonLine({ name: image.name, digest: image.target?.digest }));
      else context.write(quiet ? `${image.name}\n` : `Loaded image: ${familiarName(image.name)}\n`);
    }
    return 0;
  } catch (err) {
    throw wrap(err, file === undefined ? 'loading from stdin' : `loading ${file}`);
  }
}

/** Opened before anything else is done: what is wrong with it is said at once. */
async function archiveFile(file: string): Promise<AsyncIterable<Uint8Array>> {
  const handle = await open(file).catch((err: unknown) => {
    throw wrap(err, `loading ${file}`);
  });
  if ((await handle.stat()).isDirectory()) {
    await handle.close();
    throw invalidArgument(`${file} is a directory: tar -C ${file} -c . | gantry load`);
  }
  return handle.createReadStream();
}
