/** The noun `content`: blobs and ingests, looked at, verified, removed. */
import type { content } from '@gantry/api';
import { toDate } from '@gantry/client';
import type { Client } from '@gantry/client';
import { isCode, messageOf } from '@gantry/errors';
import { digestAlgorithm, finishDigest, hasherFor, parseDigest } from '@gantry/oci';
import type { Command, Context } from '../args/command.ts';
import { gantryFailed } from '../exit-codes.ts';
import { jsonLine } from '../output/json.ts';
import { sentence } from '../output/sentence.ts';
import { toStdout } from '../output/stdout.ts';
import { formatTable } from '../output/table.ts';
import { ago, decimalSize } from '../output/units.ts';
import { arg, flagGiven, flagValue } from './flags.ts';
import { byteCount, contentWriteCommands } from './content-write.ts';
import { collect, eachArgument, filterUsage, labelsText, listCommand } from './list-command.ts';

export const contentCommands: readonly Command[] = [
  listCommand<content.Info>(
    ['content ls', 'content list'],
    'Lists blobs',
    [
      { header: 'DIGEST', value: (row) => row.digest },
      { header: 'SIZE', value: (row) => decimalSize(Number(row.size)) },
      { header: 'AGE', value: (row) => ago(toDate(row.createdAt)) },
      { header: 'LABELS', value: (row) => labelsText(row.labels) },
    ],
    (context) => collect(context.client().content.list(context.parsed.args)),
    {},
    filterUsage,
  ),
  listCommand<content.Status>(
    ['content active'],
    'Lists what is being written',
    [
      { header: 'REF', value: (row) => row.ref },
      { header: 'SIZE', value: (row) => decimalSize(Number(row.offset)) },
      { header: 'TOTAL', value: (row) => (row.total === 0n ? '' : decimalSize(Number(row.total))) },
      { header: 'STARTED', value: (row) => ago(toDate(row.startedAt)) },
    ],
    (context) => context.client().content.statuses(context.parsed.args),
    {},
    filterUsage,
  ),
  {
    name: 'content get',
    usage: 'DIGEST',
    summary: 'Writes a blob to stdout',
    flags: {
      offset: { type: 'string', value: 'BYTES', help: 'where to begin' },
      size: { type: 'string', value: 'BYTES', help: 'how many; default: to the end' },
    },
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      const { parsed } = context;
      const offset = flagValue(parsed, 'offset', (text) => byteCount(text, '--offset'));
      const size = flagValue(parsed, 'size', (text) => byteCount(text, '--size'));
      await toStdout(context.client().content.read(arg(parsed, 0), { offset, size }));
      return 0;
    },
  },
  {
    name: 'content rm',
    aliases: ['content delete', 'content remove'],
    usage: 'DIGEST...',
    summary: 'Removes blobs from the namespace, whatever refers to them',
    flags: {},
    minArgs: 1,
    maxArgs: Infinity,
    run: async (context) => {
      const remove = async (digest: string): Promise<void> => context.client().content.delete(digest);
      const good = await eachArgument(context, remove, (err) => context.warn(sentence(err)));
      return good ? 0 : gantryFailed;
    },
  },
  {
    name: 'content abort',
    usage: 'REF...',
    summary: 'Throws away what was written under a ref',
    flags: {},
    minArgs: 1,
    maxArgs: Infinity,
    run: async (context) => {
      const abort = async (ref: string): Promise<void> => context.client().content.abort(ref);
      const good = await eachArgument(context, abort, (err) => context.warn(sentence(err)));
      return good ? 0 : gantryFailed;
    },
  },
  {
    name: 'content verify',
    usage: '[DIGEST...]',
    summary: 'Reads every blob, or those given, and compares it with its digest and size; changes nothing',
    flags: { quiet: { type: 'boolean', short: 'q', help: 'only what is wrong' } },
    minArgs: 0,
    maxArgs: Infinity,
    run: verify,
  },
  ...contentWriteCommands,
];

interface Verdict {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Undefined: the blob is what it should be. */
  readonly wrong: string | undefined;
}

async function verify(context: Context): Promise<number> {
  const client = context.client();
  const asked = context.parsed.args;
  const infos =
    asked.length === 0
      ? await collect(client.content.list())
      : await Promise.all(asked.map(async (digest) => client.content.info(digest)));
  const verdicts: Verdict[] = [];
  for (const info of infos) verdicts.push(await judge(client, info));
  const bad = verdicts.filter(({ wrong }) => wrong !== undefined);
  const shown = flagGiven(context.parsed, 'quiet') ? bad : verdicts;
  if (context.format === 'json') {
    context.write(shown.map((verdict) => jsonLine({ ...verdict, good: verdict.wrong === undefined })).join(''));
  } else if (shown.length > 0) {
    const columns = [
      { header: 'DIGEST', value: ({ digest }: Verdict) => digest },
      { header: 'SIZE', value: ({ sizeBytes }: Verdict) => decimalSize(sizeBytes) },
      { header: 'STATUS', value: ({ wrong }: Verdict) => wrong ?? 'ok' },
    ];
    context.write(formatTable(columns, shown));
  }
  if (bad.length > 0) context.warn(`${bad.length} of ${verdicts.length} blobs are not what their digests say`);
  return bad.length === 0 ? 0 : 1;
}

async function judge(client: Client, { digest, size }: content.Info): Promise<Verdict> {
  const expected = parseDigest(digest);
  const hash = hasherFor(expected);
  let read = 0n;
  try {
    for await (const bytes of client.content.read(digest)) {
      hash.update(bytes);
      read += BigInt(bytes.length);
    }
  } catch (err) {
    // A supervisor that is gone says nothing about the blob.
    if (isCode(err, 'unavailable') && !messageOf(err).includes(digest)) throw err;
    return { digest, sizeBytes: Number(size), wrong: messageOf(err) };
  }
  const actual = finishDigest(hash, digestAlgorithm(expected));
  const wrong =
    read !== size ? `${read} bytes instead of ${size}` : actual === expected ? undefined : `the bytes have ${actual}`;
  return { digest, sizeBytes: Number(size), wrong };
}
