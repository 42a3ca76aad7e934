/** Verbs about the supervisor as a whole: version, events. */
import { readFileSync } from 'node:fs';
import { toDate } from '@gantry/client';
import type { Command, Context } from '../args/command.ts';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine } from '../output/json.ts';
import { sentence } from '../output/sentence.ts';

export const versionCommand: Command = {
  name: 'version',
  usage: '',
  summary: 'Shows the versions of this command and of the supervisor',
  flags: {},
  minArgs: 0,
  maxArgs: 0,
  run: showVersion,
};

export const eventsCommand: Command = {
  name: 'events',
  usage: '',
  summary: 'Prints what happens, as it happens',
  flags: {
    filter: { type: 'list', value: 'FILTER', help: 'e.g. topic~=|^/tasks/|; several are alternatives' },
    all: { type: 'boolean', help: 'of every namespace' },
  },
  minArgs: 0,
  maxArgs: 0,
  run: followEvents,
};

function ownVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return /"version":\s*"([^"]*)"/.exec(text)?.[1] ?? 'unknown';
}

async function showVersion(context: Context): Promise<number> {
  const client = { version: ownVersion(), node: process.version };
  let server: { version: string; revision: string; uuid: string } | undefined;
  let failure: unknown;
  try {
    const { version, revision } = await context.client().version();
    const { uuid } = await context.client().introspection.server();
    server = { version, revision, uuid };
  } catch (err) {
    failure = err;
  }
  if (context.format === 'json') {
    context.write(jsonLine({ client, server }));
  } else {
    context.write(`Client:\n  Version:  ${client.version}\n  Node:     ${client.node}\n`);
    if (server !== undefined) {
      const { version, revision, uuid } = server;
      context.write(`\nServer:\n  Version:  ${version}\n  Revision: ${revision}\n  UUID:     ${uuid}\n`);
    }
  }
  if (failure === undefined) return 0;
  context.warn(sentence(failure));
  return gantryFailed;
}

async function followEvents(context: Context): Promise<number> {
  const client = context.client();
  const given = context.parsed.lists.get('filter') ?? [];
  const scope = context.parsed.booleans.get('all') === true ? '' : `namespace==${client.namespace}`;
  const filters =
    given.length === 0
      ? [scope].filter((f) => f !== '')
      : given.map((f) => [scope, f].filter((p) => p !== '').join(','));
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    for await (const event of client.events.subscribe(filters, { signal: stop.signal })) {
      const at = toDate(event.timestamp)?.toISOString() ?? '';
      if (context.format === 'json') {
        const { namespace, topic, type, payload } = event;
        context.write(jsonLine({ timestamp: at, namespace, topic, type, event: payload }));
      } else {
        context.write(`${at} ${event.namespace} ${event.topic} ${jsonLine(event.payload ?? {})}`);
      }
    }
  } catch (err) {
    if (!stop.signal.aborted) throw err;
  }
  return 0;
}
