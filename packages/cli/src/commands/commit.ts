/** Verbs about what a container has changed: diff, commit. */
import { resolveId } from '../containers/ids.ts';
import type { Command, Context } from '../args/command.ts';
import { parseImageChange } from '../args/image-changes.ts';
import { jsonLine } from '../output/json.ts';
import { visible } from '../output/table.ts';
import { arg, flagGiven } from './flags.ts';

const letters = { added: 'A', changed: 'C', deleted: 'D' } as const;

export const diffCommand: Command = {
  name: 'diff',
  aliases: ['container diff'],
  usage: 'CONTAINER',
  summary: 'Lists what a container has changed: A added, C changed, D deleted',
  flags: {},
  minArgs: 1,
  maxArgs: 1,
  run: async (context) => {
    const client = context.client();
    const changes = await client.changes(await resolveId(client, arg(context.parsed, 0)));
    const lines = changes.map((change) =>
      context.format === 'json' ? jsonLine(change) : `${letters[change.kind]} ${visible(change.path)}\n`,
    );
    context.write(lines.join(''));
    return 0;
  },
};

export const commitCommand: Command = {
  name: 'commit',
  aliases: ['container commit'],
  usage: 'CONTAINER NAME',
  summary: 'Makes an image of a container as it is now',
  flags: {
    author: { type: 'string', short: 'A', value: 'TEXT', help: 'who made it' },
    message: { type: 'string', short: 'm', value: 'TEXT', help: 'what it is about' },
    change: {
      type: 'list',
      short: 'c',
      value: 'INSTRUCTION',
      help: 'CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR as in a Dockerfile',
    },
    pause: { type: 'boolean', short: 'p', help: 'let the container stand still meanwhile (default)' },
    'no-pause': { type: 'boolean', help: 'let the container run on meanwhile' },
  },
  minArgs: 2,
  maxArgs: 2,
  run: commit,
};

async function commit(context: Context): Promise<number> {
  const { parsed } = context;
  const client = context.client();
  const changes = (parsed.lists.get('change') ?? []).map(parseImageChange);
  const image = await client.commit(await resolveId(client, arg(parsed, 0)), arg(parsed, 1), {
    author: parsed.strings.get('author'),
    message: parsed.strings.get('message'),
    changes,
    pause: parsed.booleans.get('pause') ?? !flagGiven(parsed, 'no-pause'),
  });
  const digest = image.target?.digest ?? '';
  context.write(context.format === 'json' ? jsonLine({ name: image.name, digest }) : `${digest}\n`);
  return 0;
}
