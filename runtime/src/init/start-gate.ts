/**
 * Waiting to be started by a process that does not exist yet: `create` and `start` of the command line are two processes,
 * and the first has ended when the second one begins.
 *
 *   create                             init                                  start
 *   listens on STATE/start.sock  ───►  inherits the listening socket
 *   ends                               accept                          ◄───  connect
 *                                      start                           ◄───  start
 *                                      executing, error, end of file   ───►  as in handshake.ts
 *
 * The socket is a path in a directory that only root of the host can enter; it is close-on-exec, so that a connection is
 * refused from the moment on at which the program runs or init is dead.
 */
import type { ChannelCalls, FileCalls } from '@gantry/libc';
import { ChildChannel } from '../handshake.ts';
import type { HandshakeCalls } from '../handshake.ts';

type Calls = HandshakeCalls & Pick<ChannelCalls, 'accept'> & Pick<FileCalls, 'close'>;

/** Returns the channel of whoever starts the container; `childFd`, the one to its creator, is closed. */
export function awaitStart(sys: Calls, listener: number, childFd: number): ChildChannel {
  sys.close(childFd);
  for (;;) {
    const connection = sys.accept(listener);
    const channel = new ChildChannel(sys, connection);
    try {
      channel.expect('start');
      return channel;
    } catch {
      // Somebody who only looked whether we wait, or died before it said a word.
      sys.close(connection);
    }
  }
}
