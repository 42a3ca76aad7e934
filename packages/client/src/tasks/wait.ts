/**
 * Waits for a process across a restart of the supervisor.
 *
 * Tasks.Wait is one long call, and it breaks when the supervisor dies although the container runs on. It is issued
 * again until a supervisor answers or until none has answered for `reconnectMs`. An exit that happened in between is
 * still there to be told: a stopped task stays until it is deleted.
 */
import { isCode, messageOf } from '@gantry/errors';
import type { TasksClient } from '../services/tasks.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { toExitStatus } from './exit-status.ts';
import type { ExitStatus } from './exit-status.ts';

const retryDelayMs = 200;

export interface WaitOptions extends CallOptions {
  /** How long the supervisor may be away. Default 60 seconds. */
  readonly reconnectMs?: number | undefined;
}

export async function waitForExit(
  tasks: Pick<TasksClient, 'wait'>,
  containerId: string,
  execId: string,
  options: WaitOptions = {},
): Promise<ExitStatus> {
  const reconnectMs = options.reconnectMs ?? 60_000;
  let lostAtMs: number | undefined;
  for (;;) {
    const startedMs = performance.now();
    try {
      return toExitStatus(await tasks.wait(containerId, execId, options));
    } catch (err) {
      const lost = isCode(err, 'unavailable') || messageOf(err).includes('ttrpc: closed');
      if (!lost || options.signal?.aborted === true) throw err;
      // A call that lived for a while had a supervisor behind it: the time without one starts now.
      const nowMs = performance.now();
      if (lostAtMs === undefined || nowMs - startedMs > retryDelayMs * 5) lostAtMs = nowMs;
      if (nowMs - lostAtMs > reconnectMs) throw err;
      await new Promise((resolve) => setTimeout(resolve, retryDelayMs));
    }
  }
}
