/** Waiting for a process to end, across whatever happens to its shim. */
import { timestampToNs, v1Types } from '@gantry/api';
import { isCode, notFound } from '@gantry/errors';
import type { Task } from './task.ts';

/** How a process ended. */
export interface ProcessExit {
  readonly status: number;
  readonly atNs: bigint;
}

/**
 * Resolves when the process has ended, at once when it has already. When the shim dies while we wait the answer is how
 * its container ended. Throws not found; deadline exceeded when `signal` is aborted.
 */
export async function waitForExit(task: Task, execId: string, signal: AbortSignal): Promise<ProcessExit> {
  for (;;) {
    const { state } = task;
    if (task.exit !== undefined) return { status: task.exit.status, atNs: task.exit.atNs };
    if (state.kind === 'gone') throw notFound(`task ${task.id} not found`, { container: task.id });
    if (execId === '' && task.init !== undefined) {
      // Its end is announced, so that the shim need not be asked as well.
      const { exitStatus, exitedAtNs, status } = task.init;
      if (status === v1Types.Status.STOPPED) return { status: exitStatus, atNs: exitedAtNs ?? 0n };
      await task.changed(signal);
      continue;
    }
    if (state.kind !== 'attached') {
      await task.changed(signal);
      continue;
    }
    try {
      const { exitStatus, exitedAt } = await state.shim.call('wait', { id: task.id, execId }, { signal });
      return { status: exitStatus, atNs: exitedAt === undefined ? 0n : timestampToNs(exitedAt) };
    } catch (err) {
      if (!isCode(err, 'unavailable') || !state.shim.closed) throw err;
      if (task.state === state) await task.changed(signal);
    }
  }
}
