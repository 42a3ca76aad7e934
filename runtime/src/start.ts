/** Start: init becomes the user's program. */
import { failedPrecondition, isCode } from '@gantry/errors';
import { expectMessage, startError } from './set-up.ts';
import type { Syscalls } from '@gantry/libc';
import { SIGKILL } from '@gantry/libc';
import { Deadline } from './handshake.ts';
import { hasHooks, runHooks } from './hooks.ts';
import { killContainer } from './kill.ts';
import type { ContainerParts } from './container-parts.ts';
import { asksAgent, sendListener } from './seccomp-agent.ts';

/**
 * Releases init and returns when execve(2) has succeeded. Throws its error; init has ended then, and is the caller's to
 * reap. Failed precondition when init was started before or has been killed.
 */
export function startContainer(sys: Syscalls, parts: ContainerParts): void {
  const { channel, child, createTimeoutMs } = parts;
  if (!channel.isOpen) throw failedPrecondition('cannot start an already running container');
  try {
    channel.send('start');
    const deadline = new Deadline(createTimeoutMs);
    const asks = asksAgent(parts.spec.linux?.seccomp);
    if (!asks) channel.awaitHangUp(deadline, child.pidfd);
    const message = channel.receive(deadline, child.pidfd);
    // Killed while it waited; the caller reaps it.
    if (message.kind === 'eof') throw failedPrecondition('cannot start a container that has stopped');
    expectMessage(message, 'executing');
    if (asks) passListener(sys, parts, deadline);
    expectMessage(channel.receive(deadline, child.pidfd), 'eof');
  } catch (err) {
    throw isCode(err, 'failed precondition') ? err : startError(err);
  } finally {
    channel.close();
  }
  if (hasHooks(parts.spec, 'poststart')) runPoststart(sys, parts);
}

function passListener(sys: Syscalls, parts: ContainerParts, deadline: Deadline): void {
  const { channel, child, id, bundle, spec } = parts;
  const message = channel.receive(deadline, child.pidfd);
  if (message.kind !== 'listener') return expectMessage(message, 'listener');
  sendListener(sys, child, message, { id, bundle, spec, status: 'created', initPid: child.pid }, deadline);
  channel.send('proceed');
}

/** One that fails takes the container with it; the caller reaps it. */
function runPoststart(sys: Syscalls, parts: ContainerParts): void {
  const { id, bundle, spec, child } = parts;
  try {
    runHooks(sys, 'poststart', { id, bundle, spec, pid: child.pid }, bundle);
  } catch (err) {
    try {
      killContainer(sys, parts, SIGKILL, false);
    } catch (other) {
      // It may have ended by itself.
      if (!isCode(other, 'not found')) throw other;
    }
    throw err;
  }
}
