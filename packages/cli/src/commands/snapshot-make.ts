/** Of the noun `snapshot`: what makes and changes snapshots, and what shows how they stand on each other. */
import { snapshots } from '@gantry/api';
import type { types } from '@gantry/api';
import { makeDiff } from '@gantry/client';
import type { Command, Context, FlagTable } from '../args/command.ts';
import { jsonLine } from '../output/json.ts';
import { toStdout } from '../output/stdout.ts';
import { visible } from '../output/table.ts';
import { arg, flagGiven, keyValues } from './flags.ts';
import { collect } from './list-command.ts';
import { mountLines, snapshotterFlag, storeOf } from './snapshot-store.ts';

const labelFlag: FlagTable = {
  label: { type: 'list', value: 'KEY=VALUE', help: 'e.g. containerd.io/gc.root=keep; unlabelled ones are collected' },
};

const makeFlags: FlagTable = {
  ...snapshotterFlag,
  ...labelFlag,
  target: { type: 'string', short: 't', value: 'DIR', help: 'print the mount commands for this directory' },
  lease: { type: 'string', value: 'ID', help: 'what holds it' },
};

export const snapshotMakeCommands: readonly Command[] = [
  makeCommand('prepare', 'Makes an active snapshot, on top of a committed one or of nothing'),
  makeCommand('view', 'Makes a read-only snapshot of a committed one'),
  {
    name: 'snapshot commit',
    aliases: ['snapshots commit'],
    usage: 'NAME KEY',
    summary: 'Turns the active snapshot KEY into the committed snapshot NAME',
    flags: { ...snapshotterFlag, ...labelFlag },
    minArgs: 2,
    maxArgs: 2,
    run: async (context) => {
      const labels = keyValues(context.parsed.lists.get('label') ?? [], '--label');
      await storeOf(context).commit(arg(context.parsed, 0), arg(context.parsed, 1), { labels });
      return 0;
    },
  },
  {
    name: 'snapshot label',
    aliases: ['snapshots label'],
    usage: 'KEY KEY=VALUE...',
    summary: 'Labels a snapshot; an empty value removes the label',
    flags: snapshotterFlag,
    minArgs: 2,
    maxArgs: Infinity,
    run: async (context) => {
      const [key = '', ...labels] = context.parsed.args;
      await storeOf(context).setLabels(key, keyValues(labels, 'a label'));
      return 0;
    },
  },
  {
    name: 'snapshot tree',
    aliases: ['snapshots tree'],
    usage: '',
    summary: 'Shows which snapshot stands on which',
    flags: snapshotterFlag,
    minArgs: 0,
    maxArgs: 0,
    run: tree,
  },
  {
    name: 'snapshot diff',
    aliases: ['snapshots diff'],
    usage: 'KEY [KEY]',
    summary: 'Writes the layer that a snapshot is on its parent, or that makes the first into the second, to stdout',
    flags: {
      ...snapshotterFlag,
      'media-type': { type: 'string', value: 'TYPE', help: 'default: application/vnd.oci.image.layer.v1.tar+gzip' },
      keep: { type: 'boolean', help: 'store the layer and print its digest instead' },
    },
    minArgs: 1,
    maxArgs: 2,
    run: diff,
  },
  {
    name: 'snapshot unpack',
    aliases: ['snapshots unpack'],
    usage: 'IMAGE',
    summary: 'Makes snapshots of the layers of an image that is here; prints the last one',
    flags: snapshotterFlag,
    minArgs: 1,
    maxArgs: 1,
    run: async (context) => {
      const snapshotter = context.parsed.strings.get('snapshotter');
      const chain = await context.client().images.unpack(arg(context.parsed, 0), { snapshotter });
      context.write(context.format === 'json' ? jsonLine({ name: chain }) : `${chain}\n`);
      return 0;
    },
  },
];

function makeCommand(verb: 'prepare' | 'view', summary: string): Command {
  return {
    name: `snapshot ${verb}`,
    aliases: [`snapshots ${verb}`],
    usage: verb === 'view' ? 'KEY PARENT' : 'KEY [PARENT]',
    summary,
    flags: makeFlags,
    minArgs: verb === 'view' ? 2 : 1,
    maxArgs: 2,
    run: async (context) => {
      const { parsed } = context;
      const labels = keyValues(parsed.lists.get('label') ?? [], '--label');
      const lease = parsed.strings.get('lease');
      const mounts = await storeOf(context)[verb](arg(parsed, 0), arg(parsed, 1), { labels, lease });
      const target = parsed.strings.get('target');
      if (context.format === 'json') context.write(mounts.map(jsonLine).join(''));
      else if (target !== undefined) context.write(mountLines(mounts, target));
      return 0;
    },
  };
}

/** Each below its parent; one whose parent is not listed stands at the left. */
async function tree(context: Context): Promise<number> {
  const all = await collect(storeOf(context).list());
  const names = new Set(all.map(({ name }) => name));
  const children = new Map<string, snapshots.Info[]>();
  for (const info of all) {
    const parent = names.has(info.parent) ? info.parent : '';
    children.set(parent, [...(children.get(parent) ?? []), info]);
  }
  const lines: string[] = [];
  // A stack, not recursion: chains are as long as somebody made them.
  const open = (children.get('') ?? []).map((info) => ({ info, depth: 0 })).toReversed();
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { info, depth } = next;
    if (context.format === 'json') lines.push(jsonLine({ name: info.name, parent: info.parent, depth }));
    else lines.push(`${depth === 0 ? '' : `${'  '.repeat(depth)}\\_ `}${visible(info.name)}\n`);
    const below = (children.get(info.name) ?? []).map((child) => ({ info: child, depth: depth + 1 }));
    open.push(...below.toReversed());
  }
  context.write(lines.join(''));
  return 0;
}

async function diff(context: Context): Promise<number> {
  const client = context.client();
  const { parsed } = context;
  const [first = '', second] = parsed.args;
  const store = storeOf(context);
  await using lease = await client.leases.with();
  const options = { lease: lease.id };
  const views: string[] = [];
  /** Committed snapshots are looked at by a view, nothing by no mounts at all. */
  const mountsOf = async (key: string): Promise<types.Mount[]> => {
    if (key !== '' && (await store.stat(key)).kind !== snapshots.Kind.COMMITTED) return store.mounts(key);
    const view = `view-${process.hrtime.bigint()}`;
    views.push(view);
    return store.view(view, key, options);
  };
  try {
    const [left, right] =
      second === undefined
        ? [await mountsOf((await store.stat(first)).parent), await mountsOf(first)]
        : [await mountsOf(first), await mountsOf(second)];
    const keep = flagGiven(parsed, 'keep');
    const mediaType = parsed.strings.get('media-type');
    const labels = keep ? { 'containerd.io/gc.root': new Date().toISOString() } : {};
    const layer = await makeDiff(client.transport, left, right, { ...options, mediaType, labels });
    if (keep) {
      context.write(context.format === 'json' ? jsonLine(layer) : `${layer.mediaType} ${layer.digest}\n`);
    } else {
      await toStdout(client.content.read(layer.digest, options));
    }
    return 0;
  } finally {
    for (const view of views) await store.remove(view);
  }
}
