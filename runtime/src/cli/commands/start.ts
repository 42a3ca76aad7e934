/** `start`: releases init. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { failedPrecondition } from '@gantry/errors';
import type { Command } from '../command.ts';
import { NotifySocket } from '../notify-socket.ts';
import { ContainerLock } from '../state-root.ts';
import type { StateRoot } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

export const start: Command = {
  name: 'start',
  usage: 'start ID',
  summary: 'run the program of a created container',
  flags: [],
  words: [1, 1],
  run({ root }, { rest: [id = ''] }) {
    const { notify, pid } = lockedStart(root, id);
    // Other commands may go on with the container meanwhile.
    notify?.await(pid);
    return 0;
  },
};

function lockedStart(root: StateRoot, id: string): { notify: NotifySocket | undefined; pid: number } {
  using _ = new ContainerLock(root.existing(id));
  const stored = StoredContainer.load(root, id);
  const { status, pid } = stored;
  if (status === 'paused') throw failedPrecondition('cannot start a paused container');
  const notify = status === 'created' ? NotifySocket.open(stored.directory) : undefined;
  startStored(stored);
  return { notify, pid };
}

/** The socket goes with the state that it stands for. */
export function startStored(stored: StoredContainer): void {
  stored.openToStart().start();
  rmSync(join(stored.directory, 'start.sock'), { force: true });
}
