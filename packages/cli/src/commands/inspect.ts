/** `gantry inspect`: everything there is to know about containers and images. */
import { invalidArgument, isCode } from '@gantry/errors';
import { specOf, statusName, toDate } from '@gantry/client';
import type { Client, TaskInfo } from '@gantry/client';
import type { Command, Context } from '../args/command.ts';
import { resolveId } from '../containers/ids.ts';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine, jsonText } from '../output/json.ts';
import { taskOf } from './lifecycle.ts';
import { sentence } from '../output/sentence.ts';

export const inspectCommand: Command = {
  name: 'inspect',
  usage: 'NAME...',
  summary: 'Shows containers or images as JSON',
  flags: { type: { type: 'string', value: 'container|image', help: 'default: a container, else an image' } },
  minArgs: 1,
  maxArgs: Infinity,
  run,
};

async function run(context: Context): Promise<number> {
  const type = context.parsed.strings.get('type');
  if (type !== undefined && type !== 'container' && type !== 'image') {
    throw invalidArgument(`flag --type: "${type}" is not container or image`);
  }
  const client = context.client();
  const found: unknown[] = [];
  let status = 0;
  for (const name of context.parsed.args) {
    try {
      found.push(await inspect(client, name, type));
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

async function inspect(client: Client, name: string, type: string | undefined): Promise<unknown> {
  if (type === 'image') return inspectImage(client, name);
  try {
    return await inspectContainer(client, await resolveId(client, name));
  } catch (err) {
    if (type === 'container' || !isCode(err, 'not found')) throw err;
  }
  try {
    return await inspectImage(client, name);
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

async function inspectImage(client: Client, name: string): Promise<unknown> {
  const image = await client.images.get(name);
  const { config, configDigest, manifest, manifestDigest } = await client.images.resolve(image);
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
