/** convert: an image with its layers packed in another way. */
import { invalidArgument } from '@gantry/errors';
import type { Command, Context } from '../args/command.ts';
import { jsonLine } from '../output/json.ts';
import { arg } from './flags.ts';

const compressions = ['gzip', 'zstd', 'none'] as const;

export const convertCommand: Command = {
  name: 'convert',
  aliases: ['image convert', 'i convert'],
  usage: 'IMAGE NAME',
  summary: 'Makes an image of the same files with its layers packed in another way',
  flags: {
    compression: { type: 'string', short: 'c', value: 'KIND', help: `${compressions.join(', ')} (default zstd)` },
  },
  minArgs: 2,
  maxArgs: 2,
  run: convert,
};

async function convert(context: Context): Promise<number> {
  const { parsed } = context;
  const wanted = parsed.strings.get('compression') ?? 'zstd';
  const compression = compressions.find((known) => known === wanted);
  if (compression === undefined) {
    throw invalidArgument(`--compression ${JSON.stringify(wanted)} is not one of ${compressions.join(', ')}`);
  }
  const image = await context.client().convert(arg(parsed, 0), arg(parsed, 1), { compression });
  const digest = image.target?.digest ?? '';
  context.write(context.format === 'json' ? jsonLine({ name: image.name, digest }) : `${digest}\n`);
  return 0;
}
