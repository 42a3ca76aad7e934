/** `gantry attach`: back to a container whose client has gone. */
import type { Command } from '../args/command.ts';
import { runAttached } from '../attach/run-attached.ts';
import { flagGiven } from './flags.ts';
import { onlyContainer } from './lifecycle.ts';

export const attachCommand: Command = {
  name: 'attach',
  usage: 'CONTAINER',
  summary: 'Joins the terminal to a running container that writes to pipes',
  flags: { 'no-stdin': { type: 'boolean', help: 'watch only' } },
  minArgs: 1,
  maxArgs: 1,
  run: async (context) => {
    const { client, id } = await onlyContainer(context);
    const task = await client.attach(id);
    try {
      const options = {
        terminal: task.streams?.stderr === undefined,
        stdin: !flagGiven(context.parsed, 'no-stdin') && task.streams?.stdin !== undefined,
      };
      const { exitStatus } = await runAttached(task, options, async () => {});
      return exitStatus;
    } finally {
      task.detach();
    }
  },
};
