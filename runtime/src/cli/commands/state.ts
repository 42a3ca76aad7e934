/** `state`: a container's state as JSON. */
import type { Command } from '../command.ts';
import { describe } from '../describe.ts';
import { print } from '../report.ts';
import { StoredContainer } from '../stored-container.ts';

export const state: Command = {
  name: 'state',
  usage: 'state ID',
  summary: 'print the state of a container',
  flags: [],
  words: [1, 1],
  run({ root }, { rest: [id = ''] }) {
    print(`${JSON.stringify(describe(StoredContainer.load(root, id)), undefined, 2)}`);
    return 0;
  },
};
