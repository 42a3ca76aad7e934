/**
 * A process that this one has cloned and that is not the caller's yet: it is ended and reaped here if anything goes
 * wrong, by its pidfd.
 */
import { deadlineExceeded, internal } from '@gantry/errors';
import { isErrno, POLLIN, processStartTime, SIGKILL, WNOHANG } from '@gantry/libc';
import type { ChannelCalls, FileCalls, ProcessCalls, WaitResult } from '@gantry/libc';
import type { Deadline, ParentChannel, Received } from './handshake.ts';
import { startError } from './set-up.ts';

type Calls = Pick<ProcessCalls, 'pidfdOpen' | 'pidfdSendSignal' | 'wait4'> &
  Pick<ChannelCalls, 'poll'> &
  Pick<FileCalls, 'close'>;

/** A killed process is gone at once, unless the kernel holds it in an operation that cannot be interrupted. */
const REAP_TIMEOUT_MS = 5000;

export class Child {
  readonly pid: number;
  readonly pidfd: number;
  readonly startTime: bigint;
  readonly #sys: Calls;

  /** `pid` must be a child of this process that nobody else reaps. */
  constructor(sys: Calls, pid: number) {
    this.#sys = sys;
    this.pid = pid;
    this.pidfd = sys.pidfdOpen(pid);
    // A child stays visible until it is reaped, so there is a start time even when it has ended already.
    this.startTime = processStartTime(pid) ?? 0n;
  }

  /** Receives what must come next; explains the end of a child that says nothing. */
  receive(channel: ParentChannel, deadline: Deadline): Exclude<Received, { kind: 'eof' }> {
    const message = channel.receive(deadline, this.pidfd);
    if (message.kind !== 'eof') return message;
    throw internal(`container process ended during its set-up${this.#how()}`);
  }

  #how(): string {
    const exit = this.#reap(REAP_TIMEOUT_MS);
    if (exit === undefined) return '';
    return exit.signal === 0 ? ` with status ${exit.exitStatus}` : `, killed by signal ${exit.signal}`;
  }

  #reaped = false;

  #reap(timeoutMs: number): WaitResult | undefined {
    if (this.#reaped) return undefined;
    this.#sys.poll([{ fd: this.pidfd, events: POLLIN }], timeoutMs);
    try {
      const exit = this.#sys.wait4(this.pid, WNOHANG);
      this.#reaped = exit !== undefined;
      return exit;
    } catch (err) {
      if (!isErrno(err, 'ECHILD')) throw err;
      this.#reaped = true;
      return undefined;
    }
  }

  /** Ends and reaps it. Deadline exceeded when it does not end. */
  destroy(): void {
    try {
      if (!this.#reaped) {
        try {
          this.#sys.pidfdSendSignal(this.pidfd, SIGKILL);
        } catch (err) {
          if (!isErrno(err, 'ESRCH')) throw err;
        }
        this.#reap(REAP_TIMEOUT_MS);
        if (!this.#reaped) throw deadlineExceeded(`process ${this.pid} does not end`);
      }
    } finally {
      this.#sys.close(this.pidfd);
    }
  }
}

/**
 * Takes the process that `first`, which only gave birth to it, tells of: it is ours by CLONE_PARENT. `first` ends by
 * itself and has been reaped when this returns.
 */
export function adoptBorn(sys: Calls, first: Child, channel: ParentChannel, deadline: Deadline): Child {
  let born: number;
  try {
    // Who is born may speak before the one that bore it.
    const early: Received[] = [];
    let message = first.receive(channel, deadline);
    for (; message.kind !== 'born'; message = first.receive(channel, deadline)) early.push(message);
    channel.keep(early);
    // Throws when it is not a child of ours.
    sys.wait4(message.pid, WNOHANG);
    born = message.pid;
  } catch (err) {
    first.destroy();
    throw startError(err);
  }
  sys.wait4(first.pid, 0);
  sys.close(first.pidfd);
  return new Child(sys, born);
}
