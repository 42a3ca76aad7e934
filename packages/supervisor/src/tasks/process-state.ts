/** The state of a task's process, from its shim or from what is known without one. */
import { timestampFromNs, v1Types } from '@gantry/api';
import type { PartialMessage, taskV3 } from '@gantry/api';
import { isCode } from '@gantry/errors';
import { isStopped } from '../shims/process-identity.ts';
import type { Task } from './task.ts';

/**
 * The state of a task's init for a list of many: no shim is asked that has said how its init is. One that is stopped
 * (SIGSTOP, a debugger) can say nothing any more: UNKNOWN.
 */
export async function listedState(task: Task, timeoutMs: number): Promise<PartialMessage<v1Types.Process>> {
  const { id, init, process, record, state } = task;
  const isReachable = state.kind === 'attached' || state.kind === 'resting';
  if (init === undefined || !isReachable || task.exit !== undefined) return stateOf(task, '', timeoutMs);
  const { stdin, stdout, stderr, terminal } = record;
  const known = { containerId: id, id, stdin, stdout, stderr, terminal };
  if (process !== undefined && isStopped(process.pid)) return { ...known, status: v1Types.Status.UNKNOWN };
  const { exitStatus, exitedAtNs, pid, status } = init;
  const exitedAt = exitedAtNs === undefined ? undefined : timestampFromNs(exitedAtNs);
  return { ...known, pid, status, exitStatus, exitedAt };
}

/** UNKNOWN when the shim does not answer in time. Throws not found for a process nobody knows. One that rests is to be woken before. */
export async function stateOf(task: Task, execId: string, timeoutMs: number): Promise<PartialMessage<v1Types.Process>> {
  const { id, record, state } = task;
  const { stdin, stdout, stderr, terminal } = record;
  const known = { containerId: id, id: execId === '' ? id : execId, stdin, stdout, stderr, terminal };
  if (task.exit !== undefined) {
    const { pid, status, atNs } = task.exit;
    return { ...known, pid, status: v1Types.Status.STOPPED, exitStatus: status, exitedAt: timestampFromNs(atNs) };
  }
  if (state.kind === 'unreachable') return { ...known, status: v1Types.Status.UNKNOWN };
  let shim: taskV3.StateResponse;
  try {
    shim = await task.shim().call('state', { id, execId }, { timeoutMs });
  } catch (err) {
    if (!isCode(err, 'deadline exceeded') && !isCode(err, 'unavailable')) throw err;
    return { ...known, status: v1Types.Status.UNKNOWN };
  }
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
