/** `run`: create and start, and stay with the container unless it is to be left alone. */
import { closeSync } from 'node:fs';
import type { Command } from '../command.ts';
import { deleteStored } from '../delete-stored.ts';
import { Foreground } from '../foreground.ts';
import { launch } from '../launch.ts';
import { NotifySocket } from '../notify-socket.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';
import { launchFlags } from './launch-flags.ts';
import { startStored } from './start.ts';

export const run: Command = {
  name: 'run',
  usage: 'run [options] ID',
  summary: 'create and start a container',
  flags: [
    ...launchFlags,
    { name: 'detach', aliases: ['d'], kind: 'switch', help: 'return when the program runs' },
    { name: 'keep', kind: 'switch', help: 'do not delete the container after its end' },
    { name: 'no-subreaper', kind: 'switch', help: 'leave orphans of the container to others' },
  ],
  words: [1, 1],
  async run(context, { given, rest: [id = ''] }) {
    const { root, report } = context;
    const detached = given.on('detach');
    const foreground = detached ? undefined : new Foreground({ subreaper: !given.on('no-subreaper') });
    const { container, directory, terminal } = launch(context, id, given, detached);
    const destroy = (): void => {
      using _ = new ContainerLock(directory);
      deleteStored(root, StoredContainer.load(root, id), report);
    };
    let notify: NotifySocket | undefined;
    try {
      using _ = new ContainerLock(directory);
      notify = NotifySocket.open(directory);
      startStored(StoredContainer.load(root, id));
    } catch (err) {
      if (terminal !== undefined) closeSync(terminal.master);
      destroy();
      throw err;
    }
    if (foreground === undefined) {
      notify?.await(container.pid);
      return 0;
    }
    notify?.forwardMeanwhile(container.pid);
    const status = await foreground.wait(container.pid, terminal);
    if (!given.on('keep')) destroy();
    return status;
  },
};
