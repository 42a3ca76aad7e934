/** `list`: the containers of a state root. */
import { invalidArgument, isCode } from '@gantry/errors';
import type { Command } from '../command.ts';
import { describe, ownerOf } from '../describe.ts';
import type { Description } from '../describe.ts';
import { print } from '../report.ts';
import type { StateRoot } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';
import { table } from '../table.ts';

export const list: Command = {
  name: 'list',
  usage: 'list [options]',
  summary: 'print the containers',
  flags: [
    { name: 'format', aliases: ['f'], kind: 'text', help: 'table (default) or json' },
    { name: 'quiet', aliases: ['q'], kind: 'switch', help: 'ids only' },
  ],
  words: [0, 0],
  run({ root }, { given }) {
    const found = root.ids().flatMap((id) => described(root, id));
    if (given.on('quiet')) {
      print(found.map(({ id }) => `${id}\n`).join(''));
      return 0;
    }
    switch (given.text('format')) {
      case '':
      case 'table':
        print(asTable(found));
        return 0;
      case 'json':
        print(`${found.length === 0 ? 'null' : JSON.stringify(found)}\n`);
        return 0;
      default:
        throw invalidArgument('invalid format option');
    }
  },
};

/** One that is half made or goes away while we look is not there. */
function described(root: StateRoot, id: string): Description[] {
  try {
    const stored = StoredContainer.load(root, id);
    return [describe(stored, ownerOf(stored.directory))];
  } catch (err) {
    if (isCode(err, 'not found') || isCode(err, 'data loss')) return [];
    throw err;
  }
}

function asTable(found: readonly Description[]): string {
  return table([
    ['ID', 'PID', 'STATUS', 'BUNDLE', 'CREATED', 'OWNER'],
    ...found.map(({ id, pid, status, bundle, created, owner }) => [id, String(pid), status, bundle, created, owner]),
  ]);
}
