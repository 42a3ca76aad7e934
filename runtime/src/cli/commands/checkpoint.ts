/** `checkpoint` and `restore`: refused by name. */
import { notImplemented } from '@gantry/errors';
import type { Command } from '../command.ts';

function refused(name: string, summary: string): Command {
  return {
    name,
    usage: `${name} ID`,
    summary,
    flags: [],
    words: [0, Number.POSITIVE_INFINITY],
    flagsFirst: true,
    run() {
      throw notImplemented(`${name} is not supported by this runtime`);
    },
  };
}

export const checkpoint = refused('checkpoint', 'not supported');
export const restore = refused('restore', 'not supported');
