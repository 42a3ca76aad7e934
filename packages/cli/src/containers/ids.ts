/** Names and ids of containers. */
import { randomBytes } from 'node:crypto';
import { invalidArgument, isCode, notFound } from '@gantry/errors';
import type { Client } from '@gantry/client';

/** As docker's: long enough to be unique, shown by its first twelve digits. */
export function randomId(): string {
  return randomBytes(32).toString('hex');
}

const shownDigits = 12;

/** A random id by its first digits; a name in full. */
export function shortId(id: string): string {
  return /^[0-9a-f]{64}$/.test(id) ? id.slice(0, shownDigits) : id;
}

/** The full id behind a name, an id or the beginning of one. Throws not found, invalid argument when ambiguous. */
export async function resolveId(client: Client, text: string): Promise<string> {
  try {
    return (await client.containers.get(text)).id;
  } catch (err) {
    if (!isCode(err, 'not found') && !isCode(err, 'invalid argument')) throw err;
  }
  const containers = await client.containers.list();
  const matches = containers.filter((container) => container.id.startsWith(text));
  const [only] = matches;
  if (text === '' || only === undefined) throw notFound(`container "${text}"`);
  if (matches.length > 1) throw invalidArgument(`"${text}" is the beginning of ${matches.length} container ids`);
  return only.id;
}
