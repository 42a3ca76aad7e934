/** `delete`: the end of a container's life. */
import { failedPrecondition, isCode, notFound } from '@gantry/errors';
import { linux } from '@gantry/libc';
import { deleteLeftovers } from '../../delete.ts';
import type { Command, Context } from '../command.ts';
import { deleteStored } from '../delete-stored.ts';
import { readRecord } from '../record.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

export const deleteCommand: Command = {
  name: 'delete',
  usage: 'delete [options] ID',
  summary: 'take away what a stopped or created container has',
  flags: [{ name: 'force', aliases: ['f'], kind: 'switch', help: 'kill it first when it runs' }],
  words: [1, 1],
  run(context, { given, rest: [id = ''] }) {
    const force = given.on('force');
    try {
      remove(context, id, force);
    } catch (err) {
      if (!force || !isCode(err, 'not found')) throw err;
    }
    return 0;
  },
};

function remove({ root, report }: Context, id: string, force: boolean): void {
  const directory = root.existing(id);
  using _ = new ContainerLock(directory);
  if (readRecord(directory) === undefined) {
    // Half made: its creator died. What it had made is in the runtime's own state.
    deleteLeftovers(linux, directory);
    root.remove(id);
    throw notFound('container does not exist');
  }
  const stored = StoredContainer.load(root, id);
  const { status } = stored;
  if (status !== 'stopped' && status !== 'created' && !force) {
    throw failedPrecondition(`cannot delete container ${id} that is not stopped: ${status}`);
  }
  deleteStored(root, stored, report);
}
