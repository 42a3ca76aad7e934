/** `--console-socket`, `--pidfd-socket`: handing a terminal's master or a pidfd to whoever supervises the container. */
import { invalidArgument, wrap } from '@gantry/errors';
import { linux } from '@gantry/libc';

/** A terminal has somewhere to go: the caller's own when it stays, the socket when it does not. Words as in runc. */
export function checkConsole(options: { terminal: boolean; detached: boolean; consoleSocket: string }): void {
  const { terminal, detached, consoleSocket } = options;
  if (detached && terminal && consoleSocket === '') {
    throw invalidArgument('cannot allocate tty if runc will detach without setting console socket');
  }
  if (consoleSocket !== '' && !(detached && terminal)) {
    throw invalidArgument('cannot use console socket if runc will not detach or allocate tty');
  }
}

/** Connects before there is a container, so that a socket nobody listens on is an error without consequences. */
export function connectSocket(purpose: 'console' | 'pidfd', path: string): number {
  try {
    return linux.connectUnix(path);
  } catch (err) {
    throw wrap(err, `${purpose} socket ${path}`);
  }
}

/** Sends the master with the terminal's name; both descriptors are closed. */
export function sendConsole(socket: number, master: number): void {
  try {
    linux.sendMessage(socket, Buffer.from('/dev/ptmx'), [master]);
  } catch (err) {
    throw wrap(err, 'sending the terminal to the console socket');
  } finally {
    linux.close(master);
    linux.close(socket);
  }
}

/** Sends a pidfd of the process; `kind` is `standard` for a container's init, `setns` for what is executed in one. */
export function sendPidfd(socket: number, kind: 'standard' | 'setns', pid: number): void {
  const pidfd = linux.pidfdOpen(pid);
  try {
    linux.sendMessage(socket, Buffer.from(kind), [pidfd]);
  } catch (err) {
    throw wrap(err, 'sending the pidfd to its socket');
  } finally {
    linux.close(pidfd);
    linux.close(socket);
  }
}
