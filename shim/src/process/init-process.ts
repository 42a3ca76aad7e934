/** The container's first process: its state, its stdio, its exit. What the task does with it is in task.ts. */
import { deadlineExceeded, isCode } from '@gantry/errors';
import { signals } from '@gantry/libc';
import type { Container } from '@gantry/runtime';
import { killTimeoutMs } from '../limits.ts';
import type { StdioStrings } from '../stdio/open-stdio.ts';
import type { ProcessStdio } from '../stdio/process-stdio.ts';
import { ExitLatch } from './exit-latch.ts';
import { SerialQueue } from './serial-queue.ts';
import { checkInitOperation } from './states.ts';
import type { Operation, ProcessState } from './states.ts';
import { stuckProcess } from './stuck-process.ts';

const SIGKILL = signals['SIGKILL'] ?? 9;

export class InitProcess {
  readonly container: Container;
  readonly strings: StdioStrings;
  readonly stdio: ProcessStdio;
  readonly latch = new ExitLatch();
  /** Start and Delete, one after the other. */
  readonly queue = new SerialQueue();
  state: ProcessState = 'created';
  /** Delete came before Start: the exit is part of the deletion and is not announced. */
  discarded = false;

  constructor(container: Container, strings: StdioStrings, stdio: ProcessStdio) {
    this.container = container;
    this.strings = strings;
    this.stdio = stdio;
  }

  get pid(): number {
    return this.container.pid;
  }

  /** Throws what the state table answers. */
  check(operation: Operation): void {
    checkInitOperation(this.state, operation);
  }

  /** Lets init execute the user's program. Throws when execve fails; init is dead then and will be reaped. */
  start(): void {
    this.check('start');
    this.container.start();
    this.state = 'running';
  }

  /** Not found when init has exited, reaped or not. */
  kill(signal: number, all: boolean): void {
    this.check('kill');
    this.container.kill(signal, { all });
  }

  pause(): void {
    this.check('pause');
    this.state = 'pausing';
    try {
      this.container.pause();
      this.state = 'paused';
    } catch (err) {
      this.state = 'running';
      throw err;
    }
  }

  resume(): void {
    this.check('resume');
    this.container.resume();
    this.state = 'running';
  }

  /**
   * Ends an init that was never started. Deadline exceeded, naming what it hangs in, when SIGKILL does not end it.
   */
  async discard(): Promise<void> {
    this.discarded = true;
    // One that was to be restored.
    if (this.pid === 0) return;
    try {
      this.container.kill(SIGKILL, { all: true });
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    }
    if ((await this.latch.waitAtMost(killTimeoutMs)) !== undefined) return;
    this.discarded = false;
    throw deadlineExceeded(`killing init: ${stuckProcess(this.pid)}`);
  }
}
