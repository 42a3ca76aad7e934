/** `start`: releases init. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { failedPrecondition } from '@gantry/errors';
import type { Command } from '../command.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

export const start: Command = {
  name: 'start',
  usage: 'start ID',
  summary: 'run the program of a created container',
  flags: [],
  words: [1, 1],
  run({ root }, { rest: [id = ''] }) {
    using _ = new ContainerLock(root.existing(id));
    const stored = StoredContainer.load(root, id);
    if (stored.status === 'paused') throw failedPrecondition('cannot start a paused container');
    startStored(stored);
    return 0;
  },
};

/** The socket goes with the state that it stands for. */
export function startStored(stored: StoredContainer): void {
  stored.openToStart().start();
  rmSync(join(stored.directory, 'start.sock'), { force: true });
}
