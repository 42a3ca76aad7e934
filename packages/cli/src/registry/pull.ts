/** Pulling with the news shown: for `pull`, and for `run` of an image that is not here. */
import { isCode, notFound } from '@gantry/errors';
import type { Client, ImageRecord, PullOptions } from '@gantry/client';
import { withAdvice } from './credentials.ts';
import { TransferView } from '../progress/transfer-view.ts';
import type { Screen } from '../progress/transfer-view.ts';

/** `screen` undefined: nothing is shown. */
export async function pullShown(
  client: Client,
  name: string,
  options: PullOptions,
  screen: Screen | undefined,
): Promise<ImageRecord> {
  const view = screen && new TransferView('pull', screen);
  try {
    const onProgress: PullOptions['onProgress'] = view && ((progress) => view.update(progress));
    const image = await client.images.pull(name, { ...options, onProgress });
    // A layer that another image has had unpacked is not unpacked again, and nobody says so.
    view?.end(options.unpack === false ? undefined : 'Pull complete');
    return image;
  } catch (err) {
    view?.end();
    throw withAdvice(err);
  }
}

/** Where news go that are not the result: stderr. */
export function errorScreen(): Screen {
  const { stderr } = process;
  return {
    write: (text) => void stderr.write(text),
    columns: stderr.isTTY ? stderr.columns : undefined,
    rows: stderr.rows,
  };
}

export const pullPolicies = ['missing', 'always', 'never'] as const;
export type PullPolicy = (typeof pullPolicies)[number];

/** Sees to it that an image is here. Throws not found, saying how to bring it, and what pulling throws. */
export async function ensureImage(
  client: Client,
  name: string,
  policy: PullPolicy,
  options: PullOptions,
  screen: Screen,
): Promise<void> {
  if (policy !== 'always' && (await isHere(client, name))) return;
  if (policy === 'never') throw notHere(name);
  try {
    await pullShown(client, name, options, screen);
  } catch (err) {
    // A server that cannot pull.
    if (isCode(err, 'not implemented')) throw notHere(name, err);
    throw err;
  }
}

function notHere(name: string, cause?: unknown): Error {
  return notFound(`image "${name}" is not here; bring it with: gantry pull ${name}, or gantry load -i FILE`, {}, cause);
}

async function isHere(client: Client, name: string): Promise<boolean> {
  try {
    await client.images.get(name);
    return true;
  } catch (err) {
    if (isCode(err, 'not found')) return false;
    throw err;
  }
}
