/** `gantry history`: the steps an image was made in, newest first. */
import type { Command, Context } from '../args/command.ts';
import { documentsFor } from '../images/rows.ts';
import { jsonLine } from '../output/json.ts';
import { formatTable } from '../output/table.ts';
import { ago, decimalSize } from '../output/units.ts';
import { arg, flagGiven } from './flags.ts';

const shownLength = 45;

export const historyCommand: Command = {
  name: 'history',
  aliases: ['image history', 'i history'],
  usage: 'IMAGE',
  summary: 'Shows the steps an image was made in, newest first',
  flags: {
    'no-trunc': { type: 'boolean', help: 'whole digests and commands' },
    quiet: { type: 'boolean', short: 'q', help: 'digests of the layers only' },
    human: { type: 'boolean', short: 'H', help: 'sizes and times for people (default); --human=false for programs' },
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', help: "default: this host's" },
  },
  minArgs: 1,
  maxArgs: 1,
  run,
};

interface Step {
  readonly created: Date | undefined;
  readonly createdBy: string;
  readonly comment: string;
  /** Of the layer that the step made; undefined when it made none. */
  readonly digest: string | undefined;
  readonly sizeBytes: number;
}

async function run(context: Context): Promise<number> {
  const platform = context.parsed.strings.get('platform');
  const { config, manifest } = await documentsFor(context.client(), arg(context.parsed, 0), platform);
  const layers = [...manifest.layers];
  const steps = (config.history ?? []).map((entry): Step => {
    const layer = entry.empty_layer === true ? undefined : layers.shift();
    const created = entry.created === undefined ? undefined : new Date(entry.created);
    return {
      created: created === undefined || Number.isNaN(created.getTime()) ? undefined : created,
      createdBy: entry.created_by ?? '',
      comment: entry.comment ?? '',
      digest: layer?.digest,
      sizeBytes: layer?.size ?? 0,
    };
  });
  // Builders may leave the history out; the layers are there all the same.
  for (const layer of layers) {
    steps.push({ created: undefined, createdBy: '', comment: '', digest: layer.digest, sizeBytes: layer.size });
  }
  const newestFirst = steps.toReversed();
  const whole = flagGiven(context.parsed, 'no-trunc');
  const cut = (text: string): string =>
    whole || text.length <= shownLength ? text : `${text.slice(0, shownLength - 1)}…`;
  if (flagGiven(context.parsed, 'quiet')) {
    const digests = newestFirst.map(({ digest = '' }) => (whole ? digest : digest.slice(7, 19)));
    context.write(digests.map((digest) => `${digest === '' ? '<missing>' : digest}\n`).join(''));
    return 0;
  }
  if (context.format === 'json') {
    context.write(newestFirst.map((step) => jsonLine({ ...step, created: step.created?.toISOString() })).join(''));
    return 0;
  }
  const human = context.parsed.booleans.get('human') ?? true;
  const columns = [
    { header: 'LAYER', value: ({ digest }: Step) => (whole ? (digest ?? '') : (digest ?? '').slice(7, 19)) },
    { header: 'CREATED', value: ({ created }: Step) => (human ? ago(created) : (created?.toISOString() ?? '')) },
    { header: 'CREATED BY', value: ({ createdBy }: Step) => cut(createdBy) },
    { header: 'SIZE', value: ({ sizeBytes }: Step) => (human ? decimalSize(sizeBytes) : String(sizeBytes)) },
    { header: 'COMMENT', value: ({ comment }: Step) => cut(comment) },
  ];
  context.write(formatTable(columns, newestFirst));
  return 0;
}
