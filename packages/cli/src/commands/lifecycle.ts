/** Verbs that change a container's life: start, stop, kill, rm, wait. */
import { constants } from 'node:os';
import { failedPrecondition, isCode, notFound } from '@gantry/errors';
import { isLive, toExitStatus, waitForExit } from '@gantry/client';
import type { Client, StdioRequest, TaskInfo } from '@gantry/client';
import type { Command, Context } from '../args/command.ts';
import { parseSeconds, parseSignal } from '../args/values.ts';
import { runAttached } from '../attach/run-attached.ts';
import { resolveId } from '../containers/ids.ts';
import { logPathLabel, stopSignalLabel } from '../containers/labels.ts';
import { removeWithLog } from '../containers/remove.ts';
import { gantryFailed, startFailureStatus } from '../exit-codes.ts';
import { arg, flagGiven } from './flags.ts';
import { sentence } from '../output/sentence.ts';

const defaultStopSeconds = '10';

export const startCommand: Command = {
  name: 'start',
  usage: 'CONTAINER...',
  summary: 'Starts containers that have ended or never ran',
  flags: {
    attach: { type: 'boolean', help: 'follow the output and pass on signals (one container)' },
    interactive: { type: 'boolean', short: 'i', help: 'with --attach: pass stdin to the process' },
  },
  minArgs: 1,
  maxArgs: Infinity,
  run: (context) => eachContainer(context, (client, id) => start(context, client, id)),
};

export const stopCommand: Command = {
  name: 'stop',
  usage: 'CONTAINER...',
  summary: "Asks containers to end by their image's stop signal, and kills them after a while",
  flags: {
    time: { type: 'string', short: 't', value: 'SECONDS', help: `until SIGKILL; default ${defaultStopSeconds}` },
    signal: { type: 'string', short: 's', value: 'SIGNAL', help: "instead of the image's" },
  },
  minArgs: 1,
  maxArgs: Infinity,
  run: (context) => eachContainer(context, (client, id) => stop(context, client, id)),
};

export const killCommand: Command = {
  name: 'kill',
  usage: 'CONTAINER...',
  summary: 'Sends a signal',
  flags: {
    signal: { type: 'string', short: 's', value: 'SIGNAL', help: 'name or number; default KILL' },
    all: { type: 'boolean', help: 'to every process of the container' },
  },
  minArgs: 1,
  maxArgs: Infinity,
  run: (context) =>
    eachContainer(context, async (client, id) => {
      const signal = parseSignal(context.parsed.strings.get('signal') ?? 'KILL');
      await client.tasks.kill(id, signal, { all: flagGiven(context.parsed, 'all') });
      context.write(`${id}\n`);
      return 0;
    }),
};

export const rmCommand: Command = {
  name: 'rm',
  usage: 'CONTAINER...',
  summary: 'Removes containers with their file systems and logs',
  flags: { force: { type: 'boolean', short: 'f', help: 'kill what runs; ignore what is not there' } },
  minArgs: 1,
  maxArgs: Infinity,
  run: (context) => {
    const force = flagGiven(context.parsed, 'force');
    return eachContainer(
      context,
      async (client, id) => {
        await removeWithLog(client, id, { force });
        context.write(`${id}\n`);
        return 0;
      },
      force,
    );
  },
};

export const waitCommand: Command = {
  name: 'wait',
  usage: 'CONTAINER...',
  summary: 'Waits until containers have ended and prints their exit codes',
  flags: {},
  minArgs: 1,
  maxArgs: Infinity,
  run: (context) =>
    eachContainer(context, async (client, id) => {
      const { exitStatus } = await waitForExit(client.tasks, id, '');
      context.write(`${exitStatus}\n`);
      return 0;
    }),
};

/** Goes on with the others when one fails; the exit code is that of the last failure. */
async function eachContainer(
  context: Context,
  action: (client: Client, id: string) => Promise<number>,
  ignoreMissing = false,
): Promise<number> {
  const client = context.client();
  let status = 0;
  for (const text of context.parsed.args) {
    try {
      status = (await action(client, await resolveId(client, text))) || status;
    } catch (err) {
      if (ignoreMissing && isCode(err, 'not found')) continue;
      if (isCode(err, 'unavailable')) throw err;
      context.warn(sentence(err));
      status = gantryFailed;
    }
  }
  return status;
}

/** The task of a container; undefined when it has none. */
export async function taskOf(client: Client, id: string): Promise<TaskInfo | undefined> {
  try {
    return await client.tasks.get(id);
  } catch (err) {
    if (isCode(err, 'not found')) return undefined;
    throw err;
  }
}

async function start(context: Context, client: Client, id: string): Promise<number> {
  const previous = await taskOf(client, id);
  if (previous !== undefined) {
    if (isLive(previous)) throw failedPrecondition(`container "${id}" is running already`);
    await client.tasks.delete(id);
  }
  const container = await client.containers.get(id);
  const attach = flagGiven(context.parsed, 'attach');
  const stdin = flagGiven(context.parsed, 'interactive');
  const task = await client.createTask(id, { stdio: stdioFor(container.labels, attach, stdin) });
  try {
    if (!attach) {
      await task.start();
      context.write(`${id}\n`);
      return 0;
    }
    const terminal = task.streams?.stderr === undefined;
    const { exitStatus } = await runAttached(task, { terminal, stdin }, () => task.start());
    return exitStatus;
  } catch (err) {
    context.warn(sentence(err));
    return startFailureStatus(err);
  } finally {
    task.detach();
  }
}

function stdioFor(labels: Readonly<Record<string, string>>, attach: boolean, stdin: boolean): StdioRequest {
  const file = labels[logPathLabel];
  if (attach) return { kind: 'pipes', stdin };
  return file === undefined ? { kind: 'null' } : { kind: 'file', path: file };
}

async function stop(context: Context, client: Client, id: string): Promise<number> {
  const task = await taskOf(client, id);
  if (task === undefined || !isLive(task)) {
    context.write(`${id}\n`);
    return 0;
  }
  const { labels } = await client.containers.get(id);
  const signal = parseSignal(context.parsed.strings.get('signal') ?? labels[stopSignalLabel] ?? 'TERM');
  const graceMs = parseSeconds(context.parsed.strings.get('time') ?? defaultStopSeconds, '--time');
  if (graceMs > 0) {
    await killUnlessGone(client, id, signal);
    if (await endsWithin(client, id, graceMs)) {
      context.write(`${id}\n`);
      return 0;
    }
  }
  await killUnlessGone(client, id, constants.signals.SIGKILL);
  if (!(await endsWithin(client, id, killGraceMs))) {
    throw failedPrecondition(`container "${id}" has not ended ${killGraceMs / 1000} s after SIGKILL`);
  }
  context.write(`${id}\n`);
  return 0;
}

const killGraceMs = 10_000;

async function killUnlessGone(client: Client, id: string, signal: number): Promise<void> {
  try {
    await client.tasks.kill(id, signal);
  } catch (err) {
    if (!isCode(err, 'not found')) throw err;
  }
}

async function endsWithin(client: Client, id: string, ms: number): Promise<boolean> {
  try {
    toExitStatus(await client.tasks.wait(id, '', { timeoutMs: ms }));
    return true;
  } catch (err) {
    if (isCode(err, 'deadline exceeded')) return false;
    if (isCode(err, 'not found')) return true;
    throw err;
  }
}

/** A container's only argument, for verbs that take one. */
export async function onlyContainer(context: Context): Promise<{ client: Client; id: string }> {
  const client = context.client();
  const text = arg(context.parsed, 0);
  if (text === '') throw notFound('container ""');
  return { client, id: await resolveId(client, text) };
}
