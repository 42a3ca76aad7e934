/** convert: an image with its layers packed in another way, or its documents in other words. */
import { invalidArgument } from '@gantry/errors';
import { parsePlatform } from '@gantry/oci';
import type { Command, Context, Parsed } from '../args/command.ts';
import { jsonLine } from '../output/json.ts';
import { arg, flagGiven } from './flags.ts';

const compressions = ['gzip', 'zstd', 'none', 'keep'] as const;
const families = ['oci', 'docker'] as const;

export const convertCommand: Command = {
  name: 'convert',
  aliases: ['image convert', 'i convert'],
  usage: 'IMAGE NAME',
  summary: 'Makes an image of the same files with its layers packed in another way',
  flags: {
    compression: { type: 'string', short: 'c', value: 'KIND', help: `${compressions.join(', ')} (default zstd)` },
    'media-types': { type: 'string', value: 'WHOSE', help: `${families.join(', ')} (default oci)` },
    platform: { type: 'list', value: 'OS/ARCH[/VARIANT]', help: "default: this host's; several make an index" },
    'all-platforms': { type: 'boolean', help: 'everything the image has, as an index' },
  },
  minArgs: 2,
  maxArgs: 2,
  run: convert,
};

async function convert(context: Context): Promise<number> {
  const { parsed } = context;
  const compression = choice(parsed, 'compression', compressions, 'zstd');
  const mediaTypes = choice(parsed, 'media-types', families, 'oci');
  const platforms = (parsed.lists.get('platform') ?? [])
    .flatMap((text) => text.split(','))
    .map((text) => parsePlatform(text));
  const [platform] = platforms;
  const wanted = flagGiven(parsed, 'all-platforms')
    ? { platforms: 'all' as const }
    : platforms.length > 1
      ? { platforms }
      : { platform };
  const image = await context.client().convert(arg(parsed, 0), arg(parsed, 1), { compression, mediaTypes, ...wanted });
  const digest = image.target?.digest ?? '';
  context.write(context.format === 'json' ? jsonLine({ name: image.name, digest }) : `${digest}\n`);
  return 0;
}

function choice<T extends string>(parsed: Parsed, flag: string, known: readonly T[], standard: T): T {
  const wanted = parsed.strings.get(flag) ?? standard;
  const found = known.find((one) => one === wanted);
  if (found !== undefined) return found;
  throw invalidArgument(`--${flag} ${JSON.stringify(wanted)} is not one of ${known.join(', ')}`);
}
