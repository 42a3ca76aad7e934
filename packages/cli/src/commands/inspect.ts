/** `gantry inspect`: everything there is to know about containers and images. */
import { invalidArgument, isCode } from '@gantry/errors';
import { specOf, statusName, toDate } from '@gantry/client';
import type { Client, TaskInfo } from '@gantry/client';
import type { Command, Context, FlagTable } from '../args/command.ts';
import { resolveId } from '../containers/ids.ts';
import { gantryFailed } from '../exit-codes.ts';
import { documentsFor } from '../images/rows.ts';
import { jsonLine, jsonText } from '../output/json.ts';
import { taskOf } from './lifecycle.ts';
import { sentence } from '../output/sentence.ts';

type Kind = 'container' | 'image';

const platformFlag: FlagTable = {
  platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', help: "of an image; default: this host's" },
};

export const inspectCommand: Command = {
  name: 'inspect',
  usage: 'NAME...',
  summary: 'Shows containers or images as JSON',
  flags: {
    type: { type: 'string', value: 'container|image', help: 'default: a container, else an image' },
    ...platformFlag,
  },
  minArgs: 1,
  maxArgs: Infinity,
  run: async (context) => {
    const type = context.parsed.strings.get('type');
    if (type !== undefined && type !== 'container' && type !== 'image') {
      throw invalidArgument(`flag --type: "${type}" is not container or image`);
    }
    return run(context, type);
  },
};

export const inspectContainerCommand: Command = {
  ...inspectCommand,
  name: 'container inspect',
  aliases: ['c inspect'],
  summary: 'Shows containers as JSON',
  flags: {},
  run: async (context) => run(context, 'container'),
};

export const inspectImageCommand: Command = {
  ...inspectCommand,
  name: 'image inspect',
  aliases: ['i inspect'],
  summary: 'Shows images as JSON',
  flags: platformFlag,
  run: async (context) => run(context, 'image'),
};

async function run(context: Context, type: Kind | undefined): Promise<number> {
  const platform = context.parsed.strings.get('platform');
  const client = context.client();
  const found: unknown[] = [];
  let status = 0;
  for (const name of context.parsed.args) {
    try {
      found.push(await inspect(client, name, type, platform));
    } catch (err) {
      if (!isCode(err, 'not found') && !isCode(err, 'invalid argument')) throw err;
      context.warn(sentence(err));
      status = gantryFailed;
    }
  }
  if (context.format === 'json') for (const item of found) context.write(jsonLine(item));
  else context.write(jsonText(found));
  return status;
}

async function inspect(
  client: Client,
  name: string,
  type: Kind | undefined,
  platform: string | undefined,
): Promise<unknown> {
  if (type === 'image') return inspectImage(client, name, platform);
  try {
    return await inspectContainer(client, await resolveId(client, name));
  } catch (err) {
    if (type === 'container' || !isCode(err, 'not found')) throw err;
  }
  try {
    return await inspectImage(client, name, platform);
  } catch (err) {
    throw isCode(err, 'not found') ? invalidArgument(`no container or image "${name}"`) : err;
  }
}

async function inspectContainer(client: Client, id: string): Promise<unknown> {
  const container = await client.containers.get(id);
  const task = await taskOf(client, id);
  return {
    id,
    image: container.image,
    labels: container.labels,
    runtime: container.runtime?.name,
    snapshotter: container.snapshotter,
    snapshotKey: container.snapshotKey,
    createdAt: toDate(container.createdAt)?.toISOString(),
    updatedAt: toDate(container.updatedAt)?.toISOString(),
    task: task === undefined ? null : describeTask(task),
    spec: specOf(container),
  };
}

function describeTask(task: TaskInfo): Record<string, unknown> {
  const { pid, exitStatus, stdin, stdout, stderr, terminal } = task;
  const exitedAt = toDate(task.exitedAt)?.toISOString();
  return { status: statusName(task.status), pid, exitStatus, exitedAt, stdin, stdout, stderr, terminal };
}

async function inspectImage(client: Client, name: string, platform: string | undefined): Promise<unknown> {
  const image = await client.images.get(name);
  const { config, configDigest, manifest, manifestDigest } = await documentsFor(client, image.name, platform);
  return {
    name: image.name,
    id: configDigest,
    target: image.target,
    labels: image.labels,
    createdAt: toDate(image.createdAt)?.toISOString(),
    manifestDigest,
    manifest,
    config,
  };
}
