/** `gantry history`: the steps an image was made in, newest first. */
import type { Command, Context } from '../args/command.ts';
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
  flags: { 'no-trunc': { type: 'boolean', help: 'whole digests and commands' } },
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
  const { config, manifest } = await context.client().images.resolve(arg(context.parsed, 0));
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
  if (context.format === 'json') {
    context.write(newestFirst.map((step) => jsonLine({ ...step, created: step.created?.toISOString() })).join(''));
    return 0;
  }
  const columns = [
    { header: 'LAYER', value: ({ digest }: Step) => (whole ? (digest ?? '') : (digest ?? '').slice(7, 19)) },
    { header: 'CREATED', value: ({ created }: Step) => ago(created) },
    { header: 'CREATED BY', value: ({ createdBy }: Step) => cut(createdBy) },
    { header: 'SIZE', value: ({ sizeBytes }: Step) => decimalSize(sizeBytes) },
    { header: 'COMMENT', value: ({ comment }: Step) => cut(comment) },
  ];
  context.write(formatTable(columns, newestFirst));
  return 0;
}
