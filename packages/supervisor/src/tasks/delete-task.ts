/**
 * Deleting a task, step by step, in the reverse order of its creation.
 *
 *   1 Delete in the shim   2 record   (the caller has its answer)   3 the shim's process   4 bundle and socket
 *
 * When it fails before the record is gone the task is still there, and deleting it again takes up where this left off
 * and gives the same answer. What comes after is nobody's to wait for but a Create of the same name; when it is cut off
 * the reconciler finds a bundle without a record, and ends what belongs to it.
 */
import { events, timestampFromNs, timestampToNs } from '@gantry/api';
import { codeOf, failpoint, messageOf, notFound } from '@gantry/errors';
import type { ShimConnection } from '../shims/connection.ts';
import { isInSandbox } from '../shims/foreign/foreign-bundle.ts';
import { killProcess, processGone } from '../shims/process-identity.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';
import type { TaskManager } from './manager.ts';
import type { TaskExit } from './record.ts';
import type { Task } from './task.ts';

/** Resolves to how the task ended. Throws what the shim says when the task is not in a state to be deleted. */
export async function deleteTask(manager: TaskManager, task: Task): Promise<TaskExit> {
  const { events: publisher } = manager.components;
  const { namespace, id, state } = task;
  if (state.kind === 'gone') throw notFound(`task ${id} not found`, { container: id });
  const exit = task.exit ?? (await deleteInShim(manager, task, task.shim()));
  task.deleted = exit;
  await failpoint('task.delete.after-shim');
  manager.forget(task);
  if (state.kind === 'ended') {
    publisher.publish(namespace, '/tasks/delete', events.TaskDelete, {
      containerId: id,
      pid: exit.pid,
      exitStatus: exit.status,
      exitedAt: timestampFromNs(exit.atNs),
    });
  }
  await failpoint('task.delete.after-record');
  return exit;
}

/** Ends the shim of a task that was deleted, and removes the bundle. `connection` is the one it had. */
export async function retireShim(
  manager: TaskManager,
  task: Task,
  connection: ShimConnection | undefined,
): Promise<void> {
  const { bundles } = manager.components;
  const shim = task.process;
  if (connection !== undefined) await shutDown(manager, task, connection, shim);
  await failpoint('task.delete.after-shutdown');
  // A shim of ours has removed its bundle as its last act; another has unmounted the rootfs and left the rest to us.
  if (task.isForeign && connection !== undefined) await bundles.remove(task);
  else if (bundles.exists(task)) await manager.discard(task, shim);
  await failpoint('task.delete.after-bundle');
}

/** Has the shim delete its task. One that does not know it has deleted it before: what it left says how it ended. */
async function deleteInShim(manager: TaskManager, task: Task, shim: ShimConnection): Promise<TaskExit> {
  const { timeouts } = manager.components;
  try {
    const { pid, exitStatus, exitedAt } = await shim.call(
      'delete',
      { id: task.id },
      { timeoutMs: timeouts.taskDeleteMs },
    );
    return { pid, status: exitStatus, atNs: exitedAt === undefined ? 0n : timestampToNs(exitedAt) };
  } catch (err) {
    if (codeOf(err) !== 'not found') throw err;
    return manager.cleanUp(task);
  }
}

/** Tells a shim without a container to end, and sees to it that it does. Never rejects. */
async function shutDown(
  manager: TaskManager,
  task: Task,
  shim: ShimConnection,
  process: ProcessIdentity | undefined,
): Promise<void> {
  const { log, timeouts } = manager.components;
  const fields = { ns: task.namespace, container: task.id, shim_pid: process?.pid };
  const closed = new Promise<void>((resolve) => {
    shim.onClose(resolve);
  });
  if (isInSandbox(manager.components.bundles.pathOf(task))) {
    shim.close(); // it ends with its sandbox
    return;
  }
  try {
    await shim.call('shutdown', { id: task.id }, { timeoutMs: timeouts.shimShutdownMs });
  } catch (err) {
    // The shim may be gone before its answer is.
    if (!shim.closed) log.warn({ ...fields, err: messageOf(err) }, 'shim shutdown');
  }
  if (process !== undefined && manager.isShared(task, process)) {
    shim.close(); // it has other containers
    return;
  }
  await within(closed, timeouts.shimShutdownMs);
  shim.close();
  if (process !== undefined && !(await processGone(process, 200)) && killProcess(process)) {
    log.warn(fields, 'shim did not end and was killed');
  }
}

/** Resolves when `promise` does, or when the time is over. */
function within(promise: Promise<void>, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    void promise.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
