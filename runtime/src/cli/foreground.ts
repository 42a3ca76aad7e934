/**
 * Staying with a process until it ends: its signals, its terminal, its exit status.
 *
 * The handlers are there before the process is made, so that a signal that comes meanwhile is passed on and does not end
 * us half-way; they are called when the event loop is reached.
 */
import { isErrno, linux, PR_SET_CHILD_SUBREAPER, signals, WNOHANG } from '@gantry/libc';
import { TerminalRelay } from './terminal-relay.ts';

/** Ours, or not to be passed on: children's ends, window sizes, and what cannot be caught. */
const kept: ReadonlySet<string> = new Set([
  'SIGKILL',
  'SIGSTOP',
  'SIGCHLD',
  'SIGWINCH',
  'SIGPIPE',
  'SIGURG',
  'SIGPROF',
]);

/** Signals that tell of a fault of this process itself. */
const faults: ReadonlySet<string> = new Set(['SIGSEGV', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGSYS']);

/** A process's terminal that is used from here: its master and the terminal that the caller sits at. */
export interface ProcessTerminal {
  readonly master: number;
  readonly host: number;
}

export class Foreground {
  #pid = 0;
  #pidfd = -1;
  #status: number | undefined;
  #relay: TerminalRelay | undefined;
  #ended: (status: number) => void = () => undefined;

  /** `subreaper`: processes that outlive their parents in the container come to us and are reaped. */
  constructor({ subreaper }: { readonly subreaper: boolean }) {
    if (subreaper) linux.prctl(PR_SET_CHILD_SUBREAPER, 1n);
    process.on('SIGCHLD', () => this.#reap());
    process.on('SIGWINCH', () => this.#relay?.resize());
    for (const name of Object.keys(signals)) {
      if (kept.has(name) || faults.has(name)) continue;
      try {
        process.on(name, () => this.#forward(signals[name] ?? 0));
      } catch (err) {
        // One that Node does not know by this name or keeps for itself.
        if (!isErrno(err, 'EINVAL', 'ERR_UNKNOWN_SIGNAL', 'ENOSYS')) throw err;
      }
    }
  }

  /** The exit status of our child `pid`, 128 + signal when it was killed. Takes over the master of the process's terminal. */
  async wait(pid: number, terminal: ProcessTerminal | undefined): Promise<number> {
    this.#pid = pid;
    this.#pidfd = linux.pidfdOpen(pid);
    const keepAlive = setInterval(() => undefined, 0x7fff_ffff);
    try {
      if (terminal !== undefined) this.#relay = new TerminalRelay(terminal.master, terminal.host);
      return await new Promise<number>((resolve) => {
        this.#ended = resolve;
        this.#reap();
      });
    } finally {
      clearInterval(keepAlive);
      this.#relay?.close();
      linux.close(this.#pidfd);
    }
  }

  #reap(): void {
    // Before there is a process to wait for, our children are the runtime's to reap.
    while (this.#pid !== 0 && this.#status === undefined) {
      try {
        const exit = linux.wait4(-1, WNOHANG);
        if (exit === undefined) return;
        if (exit.pid === this.#pid) this.#status = exit.exitStatus;
      } catch (err) {
        if (!isErrno(err, 'ECHILD')) throw err;
        return;
      }
    }
    if (this.#status !== undefined) this.#ended(this.#status);
  }

  #forward(signal: number): void {
    if (this.#pidfd < 0) return;
    try {
      linux.pidfdSendSignal(this.#pidfd, signal);
    } catch (err) {
      if (!isErrno(err, 'ESRCH')) throw err;
    }
  }
}
