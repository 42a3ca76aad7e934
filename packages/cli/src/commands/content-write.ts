/** Of the noun `content`: what brings blobs in, labels them, and has those collected that nothing refers to. */
import { toDate } from '@gantry/client';
import { invalidArgument } from '@gantry/errors';
import { parseDigest } from '@gantry/oci';
import type { Command, Context } from '../args/command.ts';
import { jsonLine, jsonText } from '../output/json.ts';
import { arg, flagValue, keyValues } from './flags.ts';
import { pullCommand } from './registry.ts';

export const contentWriteCommands: readonly Command[] = [
  {
    name: 'content info',
    aliases: ['content inspect'],
    usage: 'DIGEST...',
    summary: 'Everything known of blobs, as JSON',
    flags: {},
    minArgs: 1,
    maxArgs: Infinity,
    run: info,
  },
  {
    name: 'content ingest',
    usage: 'REF',
    summary: 'Stores stdin as a blob and prints its digest; what is neither labelled nor leased is collected soon',
    flags: {
      'expected-digest': { type: 'string', value: 'DIGEST', help: 'refuse anything else' },
      'expected-size': { type: 'string', value: 'BYTES', help: 'refuse anything else' },
      label: { type: 'list', value: 'KEY=VALUE', help: 'e.g. containerd.io/gc.root=keep' },
      lease: { type: 'string', value: 'ID', help: 'what holds it' },
    },
    minArgs: 1,
    maxArgs: 1,
    run: ingest,
  },
  {
    name: 'content label',
    usage: 'DIGEST KEY=VALUE...',
    summary: 'Labels a blob; an empty value removes the label',
    flags: {},
    minArgs: 2,
    maxArgs: Infinity,
    run: async (context) => {
      const [digest = '', ...labels] = context.parsed.args;
      await context.client().content.setLabels(digest, keyValues(labels, 'a label'));
      return 0;
    },
  },
  {
    ...pullCommand,
    name: 'content fetch',
    aliases: [],
    summary: 'Brings the content of an image in from a registry, without unpacking it',
    run: async (context) => {
      const booleans = new Map([...context.parsed.booleans, ['no-unpack', true] as const]);
      return pullCommand.run({ ...context, parsed: { ...context.parsed, booleans } });
    },
  },
  {
    name: 'content prune',
    usage: '',
    summary: 'Has everything collected that nothing refers to: blobs, snapshots, ingests',
    flags: {},
    minArgs: 0,
    maxArgs: 0,
    run: prune,
  },
];

async function info(context: Context): Promise<number> {
  const client = context.client();
  const found: unknown[] = [];
  for (const text of context.parsed.args) {
    const { digest, size, labels, createdAt, updatedAt } = await client.content.info(text);
    found.push({
      digest,
      sizeBytes: size,
      labels,
      createdAt: toDate(createdAt)?.toISOString(),
      updatedAt: toDate(updatedAt)?.toISOString(),
    });
  }
  context.write(context.format === 'json' ? found.map(jsonLine).join('') : jsonText(found));
  return 0;
}

async function ingest(context: Context): Promise<number> {
  const { parsed } = context;
  const { digest, size } = await context.client().content.write(process.stdin, {
    ref: arg(parsed, 0),
    expected: flagValue(parsed, 'expected-digest', parseDigest),
    sizeBytes: flagValue(parsed, 'expected-size', (text) => byteCount(text, '--expected-size')),
    labels: keyValues(parsed.lists.get('label') ?? [], '--label'),
    lease: parsed.strings.get('lease'),
  });
  context.write(context.format === 'json' ? jsonLine({ digest, sizeBytes: size }) : `${digest}\n`);
  return 0;
}

/** The end of a lease is what a collection can be waited for with. */
async function prune(context: Context): Promise<number> {
  const { leases, content } = context.client();
  const digests = async (): Promise<Map<string, bigint>> => {
    const sizes = new Map<string, bigint>();
    for await (const { digest, size } of content.list()) sizes.set(digest, size);
    return sizes;
  };
  const before = await digests();
  const { id } = await leases.create();
  await leases.delete(id, { sync: true });
  for (const digest of (await digests()).keys()) before.delete(digest);
  const reclaimedBytes = [...before.values()].reduce((sum, size) => sum + size, 0n);
  const removed = [...before.keys()];
  if (context.format === 'json') context.write(jsonLine({ removed, reclaimedBytes }));
  else context.write(removed.map((digest) => `${digest}\n`).join(''));
  return 0;
}

/** A whole number of bytes. */
export function byteCount(text: string, flag: string): bigint {
  if (!/^\d{1,18}$/.test(text)) throw invalidArgument(`flag ${flag}: "${text}" is not a number of bytes`);
  return BigInt(text);
}
