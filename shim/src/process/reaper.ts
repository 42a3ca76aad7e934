/**
 * Collects every child that dies: the container's init, exec'd processes, and the orphans that the kernel hands to
 * the shim because it is their subreaper.
 *
 * Promises:
 * - no zombie stays: each SIGCHLD empties wait4(-1, WNOHANG);
 * - an exit is delivered once, to whoever claimed its pid;
 * - an exit that is seen between the birth of a process and its claim is kept, as long as an `Expectation` is open. It
 *   cannot be matched with an older process of the same pid: a pid is not given out again before it was reaped here,
 *   and what was reaped before the expectation was opened is forgotten.
 */
import { __WALL, isErrno, WNOHANG } from '@gantry/libc';
import type { ProcessCalls, WaitResult } from '@gantry/libc';

/** How a child ended, and when it was seen to have ended (nanoseconds since the epoch). */
export interface Exit {
  readonly pid: number;
  /** 0–255; 128 + signal when killed. */
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
}

/** Opened before a process is born, closed when it is claimed or was never born. */
export interface Expectation {
  /** `onExit` is called once, never from inside `claim`. */
  claim(pid: number, onExit: (exit: Exit) => void): void;
  end(): void;
}

export interface ReaperParts {
  readonly sys: Pick<ProcessCalls, 'wait4'>;
  readonly nowNs: () => bigint;
  readonly onOrphan?: (exit: Exit) => void;
}

export class Reaper {
  readonly #parts: ReaperParts;
  readonly #claims = new Map<number, (exit: Exit) => void>();
  readonly #unclaimed = new Map<number, Exit>();
  #expectations = 0;
  readonly #onSignal = (): void => this.sweep();

  constructor(parts: ReaperParts) {
    this.#parts = parts;
  }

  /** Listens to SIGCHLD on Node's loop and collects what has died before. */
  start(): void {
    process.on('SIGCHLD', this.#onSignal);
    this.sweep();
  }

  stop(): void {
    process.off('SIGCHLD', this.#onSignal);
  }

  /** Call before a process is made. While any expectation is open, unknown exits are kept. */
  expect(): Expectation {
    this.#expectations++;
    let open = true;
    const end = (): void => {
      if (!open) return;
      open = false;
      this.#expectations--;
      if (this.#expectations > 0) return;
      for (const exit of this.#unclaimed.values()) this.#parts.onOrphan?.(exit);
      this.#unclaimed.clear();
    };
    return { claim: (pid, onExit) => this.#claim(pid, onExit), end };
  }

  /** Collects until nobody is left who has died. Deliveries happen after all were collected. */
  sweep(): void {
    const exits: Exit[] = [];
    for (;;) {
      const result = this.#waitForOne();
      if (result === undefined) break;
      exits.push({ pid: result.pid, exitStatus: result.exitStatus, exitedAtNs: this.#parts.nowNs() });
    }
    for (const exit of exits) this.#deliver(exit);
  }

  #waitForOne(): WaitResult | undefined {
    try {
      return this.#parts.sys.wait4(-1, WNOHANG | __WALL);
    } catch (err) {
      if (isErrno(err, 'ECHILD')) return undefined;
      throw err;
    }
  }

  #claim(pid: number, onExit: (exit: Exit) => void): void {
    const early = this.#unclaimed.get(pid);
    if (early === undefined) {
      this.#claims.set(pid, onExit);
      return;
    }
    this.#unclaimed.delete(pid);
    queueMicrotask(() => onExit(early));
  }

  #deliver(exit: Exit): void {
    const onExit = this.#claims.get(exit.pid);
    if (onExit !== undefined) {
      this.#claims.delete(exit.pid);
      onExit(exit);
    } else if (this.#expectations > 0) this.#unclaimed.set(exit.pid, exit);
    else this.#parts.onOrphan?.(exit);
  }
}
