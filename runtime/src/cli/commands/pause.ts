/** `pause` and `resume`. */
import { failedPrecondition } from '@gantry/errors';
import type { Command } from '../command.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

export const pause: Command = {
  name: 'pause',
  usage: 'pause ID',
  summary: 'let every process of a container stand still',
  flags: [],
  words: [1, 1],
  run({ root }, { rest: [id = ''] }) {
    using _ = new ContainerLock(root.existing(id));
    const stored = StoredContainer.load(root, id);
    const { status } = stored;
    if (status !== 'running' && status !== 'created') {
      throw failedPrecondition(status === 'paused' ? 'container already paused' : 'container not running');
    }
    stored.open().pause();
    return 0;
  },
};

export const resume: Command = {
  name: 'resume',
  usage: 'resume ID',
  summary: 'let the processes of a paused container run again',
  flags: [],
  words: [1, 1],
  run({ root }, { rest: [id = ''] }) {
    using _ = new ContainerLock(root.existing(id));
    const stored = StoredContainer.load(root, id);
    if (stored.status !== 'paused') throw failedPrecondition('container not paused');
    stored.open().resume();
    return 0;
  },
};
