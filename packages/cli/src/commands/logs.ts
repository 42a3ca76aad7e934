/** `gantry logs`: what a container in the background has written. */
import { watch } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { failedPrecondition, invalidArgument, isCode, wrap } from '@gantry/errors';
import { isLive, waitForExit } from '@gantry/client';
import type { Client } from '@gantry/client';
import type { Command, Context } from '../args/command.ts';
import { logPathLabel } from '../containers/labels.ts';
import { flagGiven, flagValue } from './flags.ts';
import { onlyContainer, taskOf } from './lifecycle.ts';

const chunkBytes = 64 * 1024;

export const logsCommand: Command = {
  name: 'logs',
  usage: 'CONTAINER',
  summary: 'Prints what a container run with -d has written',
  flags: {
    follow: { type: 'boolean', short: 'f', help: 'go on until the container ends' },
    tail: { type: 'string', value: 'LINES', help: 'only the last lines' },
  },
  minArgs: 1,
  maxArgs: 1,
  run,
};

async function run(context: Context): Promise<number> {
  const { client, id } = await onlyContainer(context);
  const file = (await client.containers.get(id)).labels[logPathLabel];
  if (file === undefined) {
    throw failedPrecondition(`container "${id}" has no log: only the output of run -d is kept`);
  }
  const lines = flagValue(context.parsed, 'tail', parseLines);
  let handle: FileHandle;
  try {
    handle = await open(file, 'r');
  } catch (err) {
    throw wrap(err, 'opening the log');
  }
  try {
    const start = lines === undefined ? 0 : await tailOffset(handle, lines);
    const position = await printFrom(handle, start);
    if (flagGiven(context.parsed, 'follow')) await follow(client, id, file, handle, position);
  } finally {
    await handle.close();
  }
  return 0;
}

/** Prints what is added until the container has ended and everything is read. */
async function follow(client: Client, id: string, file: string, handle: FileHandle, start: number): Promise<void> {
  let position = start;
  let ended = false;
  let wake: () => void = () => {};
  const watcher = watch(file, () => wake());
  try {
    const exit = waitUntilEnded(client, id).finally(() => {
      ended = true;
      wake();
    });
    exit.catch(() => undefined);
    for (;;) {
      // Order matters: an end seen before the read means that the read saw everything.
      const last = ended;
      const changed = new Promise<void>((resolve) => {
        wake = resolve;
      });
      position = await printFrom(handle, position);
      if (last) break;
      if (!ended) await changed;
    }
    await exit;
  } finally {
    watcher.close();
  }
}

async function waitUntilEnded(client: Client, id: string): Promise<void> {
  const task = await taskOf(client, id);
  if (task === undefined || !isLive(task)) return;
  try {
    await waitForExit(client.tasks, id, '');
  } catch (err) {
    if (!isCode(err, 'not found')) throw err;
  }
}

async function printFrom(handle: FileHandle, start: number): Promise<number> {
  const buffer = Buffer.alloc(chunkBytes);
  let position = start;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return position;
    position += bytesRead;
    const chunk = Buffer.from(buffer.subarray(0, bytesRead));
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (err) => (err ? reject(err) : resolve()));
    });
  }
}

/** Where the last `lines` lines begin; read backwards, a chunk at a time. */
async function tailOffset(handle: FileHandle, lines: number): Promise<number> {
  if (lines === 0) return (await handle.stat()).size;
  let end = (await handle.stat()).size;
  const size = end;
  let seen = 0;
  const buffer = Buffer.alloc(chunkBytes);
  while (end > 0) {
    const start = Math.max(0, end - chunkBytes);
    const { bytesRead } = await handle.read(buffer, 0, end - start, start);
    for (let index = bytesRead - 1; index >= 0; index -= 1) {
      // The newline that ends the file ends no further line.
      if (buffer[index] !== 0x0a || start + index === size - 1) continue;
      seen += 1;
      if (seen === lines) return start + index + 1;
    }
    end = start;
  }
  return 0;
}

function parseLines(text: string): number {
  if (!/^\d+$/.test(text)) throw invalidArgument(`flag --tail: "${text}" is not a number of lines`);
  return Number(text);
}
