/**
 * Does forking this Node process work? A child tries what a shim needs: JavaScript, timers, garbage
 * collection, sockets, a child of its own
 * with SIGCHLD, and leaving with an exit status.
 */
import { rmSync } from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { internal, isCode, resourceExhausted } from '@gantry/errors';
import { isErrno, POLLIN, PR_SET_PDEATHSIG, SIGKILL, WNOHANG } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { Reaper } from '../process/reaper.ts';
import { collectGarbage } from './settle.ts';
import { becomeOwnProcess } from './spare.ts';
import type { Inheritance } from './spare.ts';

const passed = 42;
const noRoom = 43;
const childStatus = 7;
const timeoutMs = 5000;

/**
 * Forks once. In the zygote it returns when the child has passed and throws otherwise, saying how it ended; resource
 * exhausted when that says nothing about forking. In the child
 * it starts the trial on the event loop and returns true: the caller gives way to the loop and does nothing else.
 */
export function selfTest(sys: Syscalls, inheritance: Inheritance, socketPath: string): boolean {
  const pid = sys.fork();
  if (pid === 0) {
    trial(sys, inheritance, socketPath).then(
      () => sys.exitNow(passed),
      (err: unknown) => sys.exitNow(isLackOfRoom(err) ? noRoom : 1),
    );
    return true;
  }
  const pidfd = sys.pidfdOpen(pid);
  try {
    const [ended = 0] = sys.poll([{ fd: pidfd, events: POLLIN }], timeoutMs);
    if (ended === 0) sys.pidfdSendSignal(pidfd, SIGKILL);
    const exit = sys.wait4(pid, ended === 0 ? 0 : WNOHANG);
    if (ended === 0) throw internal(`a forked child does not answer within ${timeoutMs} ms`);
    if (exit?.exitStatus === noRoom) throw resourceExhausted('a forked child has no room for a process of its own');
    if (exit?.exitStatus !== passed) throw internal(`a forked child ends with status ${exit?.exitStatus ?? 'unknown'}`);
    return false;
  } finally {
    sys.close(pidfd);
    rmSync(socketPath, { force: true });
  }
}

async function trial(sys: Syscalls, inheritance: Inheritance, socketPath: string): Promise<void> {
  sys.prctl(PR_SET_PDEATHSIG, BigInt(SIGKILL));
  becomeOwnProcess(sys, inheritance);
  // A loop without anything to wait for ends the process, and a signal alone is nothing to wait for.
  setTimeout(() => sys.exitNow(1), timeoutMs);
  await new Promise((resolve) => setTimeout(resolve, 1));
  // A collection that leaves work to helper threads would wait for them for ever.
  collectGarbage();
  await echo(socketPath);
  const reaper = new Reaper({ sys, nowNs: () => 0n });
  reaper.start();
  const expectation = reaper.expect();
  const pid = sys.fork();
  if (pid === 0) sys.exitNow(childStatus);
  const status = await new Promise((resolve) => expectation.claim(pid, (exit) => resolve(exit.exitStatus)));
  if (status !== childStatus) throw internal(`its child ended with ${String(status)}`);
}

/** Whether the machine, the user or the control group has no process, memory or descriptor to spare: that passes. */
export function isLackOfRoom(err: unknown): boolean {
  if (isCode(err, 'resource exhausted') || isErrno(err, 'EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE')) return true;
  return err instanceof Error && err.cause !== undefined && isLackOfRoom(err.cause);
}

/** A word to oneself over a unix socket. */
async function echo(socketPath: string): Promise<void> {
  const server = net.createServer((socket) => socket.pipe(socket)).listen(socketPath);
  await once(server, 'listening');
  const client = net.connect(socketPath);
  client.write('fork');
  const [answer] = (await once(client, 'data')) as [Buffer];
  if (answer.toString() !== 'fork') throw internal('the socket says something else');
  client.destroy();
  server.close();
}
