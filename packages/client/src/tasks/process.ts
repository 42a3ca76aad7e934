/**
 * A process in a container, init or exec, over its life: created → started → ended → deleted.
 *
 * Owns the client's side of its stdio and one outstanding Wait, which is always issued before Start so that no exit
 * can be missed.
 */
import { isCode } from '@gantry/errors';
import type { Fifos } from '../io/fifos.ts';
import type { TasksClient } from '../services/tasks.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { toExitStatus } from './exit-status.ts';
import type { ExitStatus } from './exit-status.ts';
import type { OpenStdio } from './stdio.ts';
import { waitForExit } from './wait.ts';

/** Silence after which output is taken to be complete although somebody still holds the pipe. */
const drainIdleMs = 500;

/** A kill that is answered by an exit takes a moment, not longer. */
const killTimeoutMs = 10_000;

const SIGKILL = 9;

export class TaskProcess implements AsyncDisposable {
  readonly containerId: string;
  /** '' for the init process. */
  readonly execId: string;
  private readonly tasks: TasksClient;
  private readonly stdio: OpenStdio | undefined;
  private readonly cancelWait = new AbortController();
  private exit: Promise<ExitStatus> | undefined;
  private currentPid: number;

  constructor(tasks: TasksClient, ids: { containerId: string; execId: string; pid: number }, stdio?: OpenStdio) {
    this.tasks = tasks;
    this.containerId = ids.containerId;
    this.execId = ids.execId;
    this.currentPid = ids.pid;
    this.stdio = stdio;
  }

  /** Pid on the host; 0 before an exec has started. */
  get pid(): number {
    return this.currentPid;
  }

  /** The client's ends, when it asked for pipes. */
  get streams(): Fifos | undefined {
    return this.stdio?.fifos;
  }

  /** Runs the process. Throws what the runtime said when it cannot be executed; the process is then still to delete. */
  async start(options: CallOptions = {}): Promise<void> {
    this.watch();
    this.currentPid = await this.tasks.start(this.containerId, this.execId, options);
    this.streams?.connectStdin();
  }

  /** Resolves when the process has ended; survives a restart of the supervisor. May be called any number of times. */
  wait(): Promise<ExitStatus> {
    return this.watch();
  }

  /** Throws not found when the process has ended already. */
  kill(signal: number, options: CallOptions & { readonly all?: boolean } = {}): Promise<void> {
    return this.tasks.kill(this.containerId, signal, { ...options, execId: this.execId });
  }

  resize(size: { readonly columns: number; readonly rows: number }, options: CallOptions = {}): Promise<void> {
    return this.tasks.resize(this.containerId, size, this.execId, options);
  }

  /** Ends the process's input: closes this side and the one the shim keeps. */
  async closeStdin(options: CallOptions = {}): Promise<void> {
    this.streams?.stdin?.end();
    try {
      await this.tasks.closeStdin(this.containerId, this.execId, options);
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    }
  }

  /**
   * Removes the ended (or never started) process, reads what is left of its output and closes the pipes.
   * Throws failed precondition or unknown, in the server's words, while it runs.
   */
  async delete(options: CallOptions = {}): Promise<ExitStatus> {
    const reply =
      this.execId === ''
        ? await this.tasks.delete(this.containerId, options)
        : await this.tasks.deleteExec(this.containerId, this.execId, options);
    await this.streams?.drained(drainIdleMs);
    this.release();
    return toExitStatus(reply);
  }

  /** Kills it if it runs, then deletes it. What is gone already is success. */
  async destroy(options: CallOptions = {}): Promise<void> {
    try {
      await this.kill(SIGKILL, { ...options, all: this.execId === '' });
      await waitForExit(this.tasks, this.containerId, this.execId, {
        ...options,
        timeoutMs: killTimeoutMs,
        reconnectMs: killTimeoutMs,
      });
    } catch (err) {
      // Not started, or ended: nothing to kill. Anything else shows in the delete.
      if (isCode(err, 'cancelled')) throw err;
    }
    try {
      await this.delete(options);
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    } finally {
      this.release();
    }
  }

  /** Lets go of the process without touching it; its pipes stay for another client. */
  detach(): void {
    this.cancelWait.abort();
    this.streams?.detach();
  }

  /** The end of a block that owned the process: `destroy`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }

  private watch(): Promise<ExitStatus> {
    if (this.exit === undefined) {
      this.exit = waitForExit(this.tasks, this.containerId, this.execId, { signal: this.cancelWait.signal });
      // Whoever calls `wait` sees the failure; a caller who never does must not crash of it.
      this.exit.catch(() => undefined);
    }
    return this.exit;
  }

  private release(): void {
    this.cancelWait.abort();
    this.streams?.close();
  }
}
