/** Verbs between the image store and registries: pull, push. */
import type { Client, ImageRecord, PullOptions } from '@gantry/client';
import { hostPlatform, normalizeReference, parsePlatform } from '@gantry/oci';
import type { Platform } from '@gantry/oci';
import type { Command, Context, FlagTable, Parsed } from '../args/command.ts';
import { jsonLine } from '../output/json.ts';
import { TransferView } from '../progress/transfer-view.ts';
import type { Screen } from '../progress/transfer-view.ts';
import { credentialsOf, withAdvice } from '../registry/credentials.ts';
import { pullShown } from '../registry/pull.ts';
import { onlyPartHere } from '../registry/pushable.ts';
import { arg, flagGiven, keyValues } from './flags.ts';
import { familiarName } from './ps.ts';

const registryFlags: FlagTable = {
  quiet: { type: 'boolean', short: 'q', help: 'only the name' },
  user: { type: 'string', short: 'u', value: 'NAME:PASSWORD', help: "default: docker's and podman's configuration" },
  'plain-http': { type: 'boolean', help: 'the registry does not speak TLS' },
  'hosts-dir': { type: 'string', value: 'DIR', help: "directory of hosts.toml files, instead of gantryd's" },
};

export const pullCommand: Command = {
  name: 'pull',
  aliases: ['image pull', 'i pull'],
  usage: 'IMAGE',
  summary: 'Brings an image in from a registry',
  flags: {
    ...registryFlags,
    platform: { type: 'list', value: 'OS/ARCH[/VARIANT]', help: "default: this host's" },
    'all-platforms': { type: 'boolean', help: 'everything the image has' },
    'no-unpack': { type: 'boolean', help: 'fetch only; running it unpacks it' },
    snapshotter: { type: 'string', value: 'NAME', help: 'where to unpack it' },
    label: { type: 'list', value: 'KEY=VALUE', help: "labels of the image's record" },
  },
  minArgs: 1,
  maxArgs: 1,
  run: pull,
};

export const pushCommand: Command = {
  name: 'push',
  aliases: ['image push', 'i push'],
  usage: 'IMAGE [NAME]',
  summary: 'Takes an image to a registry, under its own name or another',
  flags: {
    ...registryFlags,
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', help: 'only the image for this platform' },
    'all-platforms': { type: 'boolean', help: 'all or nothing; default: all, or the only one that is here' },
  },
  minArgs: 1,
  maxArgs: 2,
  run: push,
};

async function pull(context: Context): Promise<number> {
  const { parsed, format } = context;
  const name = normalizeReference(arg(parsed, 0));
  const screen = screenOf(context);
  const options: PullOptions = {
    ...registryOptions(parsed),
    platforms: platformsOf(parsed),
    unpack: !flagGiven(parsed, 'no-unpack'),
    snapshotter: parsed.strings.get('snapshotter'),
    labels: keyValues(parsed.lists.get('label') ?? [], '--label'),
  };
  const before = await digestHere(context.client(), name);
  const image = await pullShown(context.client(), name, options, screen);
  const digest = image.target?.digest ?? '';
  if (format === 'json') context.write(jsonLine({ name: image.name, digest }));
  else if (screen === undefined) context.write(`${image.name}\n`);
  else {
    const status = before === digest ? 'Image is up to date' : 'Downloaded newer image';
    context.write(`Digest: ${digest}\nStatus: ${status} for ${familiarName(name)}\n${image.name}\n`);
  }
  return 0;
}

/** What the name stands for now; undefined for nothing. */
async function digestHere(client: Client, name: string): Promise<string | undefined> {
  const [record] = await client.images.list([`name==${JSON.stringify(name)}`]);
  return record?.target?.digest;
}

async function push(context: Context): Promise<number> {
  const { parsed, format } = context;
  const source = arg(parsed, 0);
  const client = context.client();
  const image = await client.images.get(source);
  const target = parsed.args[1] === undefined ? image.name : normalizeReference(arg(parsed, 1));
  const platform = await platformToPush(context, client, image);
  const screen = screenOf(context);
  const view = screen && new TransferView('push', screen);
  try {
    await client.images.push(image.name, target, {
      ...registryOptions(parsed),
      platform,
      onProgress: view && ((progress) => view.update(progress)),
    });
  } catch (err) {
    throw withAdvice(err);
  } finally {
    view?.end();
  }
  const pushed = platform === undefined ? undefined : await client.images.resolve(image, { platform });
  const digest = pushed?.manifestDigest ?? image.target?.digest ?? '';
  if (format === 'json') context.write(jsonLine({ name: target, digest }));
  else context.write(screen === undefined ? `${target}\n` : `Digest: ${digest}\n${target}\n`);
  return 0;
}

/** The one that is asked for, or the only one that is here. */
async function platformToPush(
  { parsed, warn }: Context,
  client: Client,
  image: ImageRecord,
): Promise<Platform | undefined> {
  const asked = parsed.strings.get('platform');
  if (asked !== undefined) return parsePlatform(asked);
  if (flagGiven(parsed, 'all-platforms')) return undefined;
  const part = await onlyPartHere(client, image);
  if (part !== undefined) warn(part.sentence);
  return part?.platform;
}

/** Nothing is shown to scripts. */
function screenOf({ parsed, format, write }: Context): Screen | undefined {
  if (flagGiven(parsed, 'quiet') || format === 'json') return undefined;
  const { isTTY, columns, rows } = process.stdout;
  return { write, columns: isTTY ? columns : undefined, rows };
}

function registryOptions(parsed: Parsed): Pick<PullOptions, 'credentials' | 'hostsDir' | 'plainHttp'> {
  return {
    credentials: credentialsOf(parsed.strings.get('user')),
    hostsDir: parsed.strings.get('hosts-dir'),
    plainHttp: flagGiven(parsed, 'plain-http'),
  };
}

function platformsOf(parsed: Parsed): PullOptions['platforms'] {
  if (flagGiven(parsed, 'all-platforms')) return 'all';
  const given = parsed.lists.get('platform') ?? [];
  return given.length === 0 ? [hostPlatform()] : given.map((text) => parsePlatform(text));
}
