/** Start: init becomes the user's program. */
import { failedPrecondition } from '@gantry/errors';
import { startError } from './set-up.ts';
import { Deadline } from './handshake.ts';
import type { ContainerParts } from './container-parts.ts';

/**
 * Releases init and returns when execve(2) has succeeded. Throws its error; init has ended then, and is the caller's to
 * reap. Failed precondition when init was started before or has been killed.
 */
export function startContainer({ channel, child, createTimeoutMs }: ContainerParts): void {
  if (!channel.isOpen) throw failedPrecondition('cannot start an already running container');
  try {
    channel.send('start');
    const message = channel.receive(new Deadline(createTimeoutMs), child.pidfd);
    if (message.kind !== 'eof') throw failedPrecondition(`container process said ${message.kind}`);
  } catch (err) {
    throw startError(err);
  } finally {
    channel.close();
  }
}
