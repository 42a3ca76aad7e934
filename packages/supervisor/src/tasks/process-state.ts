/** The state of a task's process, from its shim or from what is known without one. */
import { timestampFromNs, v1Types } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import type { Task } from './task.ts';

/** Throws not found for a process nobody knows, deadline exceeded when the shim does not answer in time. */
export async function stateOf(task: Task, execId: string, timeoutMs: number): Promise<PartialMessage<v1Types.Process>> {
  const { id, record, state } = task;
  const { stdin, stdout, stderr, terminal } = record;
  const known = { containerId: id, id: execId === '' ? id : execId, stdin, stdout, stderr, terminal };
  if (state.kind === 'unreachable') return { ...known, status: v1Types.Status.UNKNOWN };
  if (state.kind === 'ended') {
    const { pid, status, atNs } = state.exit;
    return { ...known, pid, status: v1Types.Status.STOPPED, exitStatus: status, exitedAt: timestampFromNs(atNs) };
  }
  const shim = await task.shim().call('state', { id, execId }, { timeoutMs });
  return {
    containerId: id,
    id: execId === '' ? id : execId,
    pid: shim.pid,
    status: shim.status,
    stdin: shim.stdin,
    stdout: shim.stdout,
    stderr: shim.stderr,
    terminal: shim.terminal,
    exitStatus: shim.exitStatus,
    exitedAt: shim.exitedAt,
  };
}
