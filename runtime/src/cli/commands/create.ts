/** `create`: a container whose init waits for `start`. */
import type { Command } from '../command.ts';
import { launch } from '../launch.ts';
import { launchFlags } from './launch-flags.ts';

export const create: Command = {
  name: 'create',
  usage: 'create [options] ID',
  summary: 'make a container of a bundle; its process waits for start',
  flags: launchFlags,
  words: [1, 1],
  run(context, { given, rest: [id = ''] }) {
    launch(context, id, given, true);
    return 0;
  },
};
