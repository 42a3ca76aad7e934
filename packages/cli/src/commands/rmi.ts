/** rmi: names of images go, and with the last name the image. */
import type { Client } from '@gantry/client';
import { failedPrecondition, isCode } from '@gantry/errors';
import type { Command, Context } from '../args/command.ts';
import { shortId } from '../containers/ids.ts';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine } from '../output/json.ts';
import { sentence } from '../output/sentence.ts';
import { visible } from '../output/table.ts';
import { flagGiven } from './flags.ts';
import { familiarName } from './ps.ts';

export const rmiCommand: Command = {
  name: 'rmi',
  aliases: ['image rm', 'image remove', 'i rm'],
  usage: 'IMAGE...',
  summary: 'Removes image names, and what only they referred to',
  flags: {
    force: {
      type: 'boolean',
      short: 'f',
      help: 'also what containers use, all names of an id; ignore what is not there',
    },
    async: { type: 'boolean', help: 'do not wait until the content is gone' },
  },
  minArgs: 1,
  maxArgs: Infinity,
  run: removeImages,
};

async function removeImages(context: Context): Promise<number> {
  const client = context.client();
  const force = flagGiven(context.parsed, 'force');
  let status = 0;
  for (const name of context.parsed.args) {
    try {
      for (const doomed of await namesOf(client, name, force)) await removeName(context, doomed, force);
    } catch (err) {
      if (isCode(err, 'unavailable')) throw err;
      if (force && isCode(err, 'not found')) continue;
      context.warn(sentence(err));
      status = gantryFailed;
    }
  }
  return status;
}

/** A name is itself; an id stands for every name of its image, which are removed together only when told so. */
async function namesOf(client: Client, text: string, force: boolean): Promise<readonly string[]> {
  const first = await client.images.get(text);
  const images = await client.images.withId(text);
  if (!images.some(({ name }) => name === first.name)) return [first.name];
  if (images.length > 1 && !force) {
    const all = images.map(({ name }) => familiarName(name)).join(', ');
    throw failedPrecondition(`image ${text} has several names (${all}): name one, or use --force`);
  }
  return images.map(({ name }) => name);
}

/** Says `Untagged:`, and `Deleted:` when it was the last name of what it stood for. */
async function removeName(context: Context, name: string, force: boolean): Promise<void> {
  const client = context.client();
  const { target } = await client.images.get(name);
  const users = (await client.containers.list()).filter(({ image }) => image === name).map(({ id }) => shortId(id));
  if (users.length > 0 && !force) {
    const who =
      users.length === 1 ? `container ${users[0]} uses` : `${users.length} containers (${users.join(', ')}) use`;
    throw failedPrecondition(
      `image ${familiarName(name)} is not removed: ${who} it: remove that first, or use --force`,
    );
  }
  await client.images.remove(name, { sync: !flagGiven(context.parsed, 'async') });
  const digest = target?.digest ?? '';
  const isLast = !(await client.images.list()).some((other) => other.target?.digest === digest);
  if (context.format === 'json') context.write(jsonLine({ untagged: name, ...(isLast && { deleted: digest }) }));
  else context.write(`Untagged: ${visible(familiarName(name))}\n${isLast ? `Deleted: ${digest}\n` : ''}`);
}
