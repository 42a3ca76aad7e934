/** Takes a container away: task, record, snapshot, pipes. */
import type { v1Types } from '@gantry/api';
import { failedPrecondition, isCode } from '@gantry/errors';
import { removeFifosOf } from '../io/fifos.ts';
import type { ContainersClient } from '../services/containers.ts';
import type { SnapshotsClient } from '../services/snapshots.ts';
import type { TasksClient } from '../services/tasks.ts';
import { TaskProcess } from '../tasks/process.ts';
import { isLive } from '../tasks/status.ts';
import type { CallOptions } from '../transport/call-options.ts';

export interface RemoveComponents {
  readonly containers: ContainersClient;
  readonly tasks: TasksClient;
  readonly snapshots: SnapshotsClient;
}

export interface RemoveContainerOptions extends CallOptions {
  /** Kill a running task. Without it a running container is a failed precondition. */
  readonly force?: boolean | undefined;
}

/**
 * Goes on past what is gone already, and can be repeated after a failure.
 * Throws not found when there is no such container, failed precondition when it runs and `force` is not given.
 */
export async function removeContainer(
  components: RemoveComponents,
  id: string,
  options: RemoveContainerOptions = {},
): Promise<void> {
  const { tasks, containers, snapshots } = components;
  const container = await containers.get(id, options);
  const task = await currentTask(tasks, id, options);
  if (task !== undefined) {
    if (options.force !== true && isLive(task)) {
      throw failedPrecondition(`container "${id}" is running: stop it first, or force its removal`);
    }
    await new TaskProcess(tasks, { containerId: id, execId: '', pid: task.pid }).destroy(options);
    removeFifosOf(task.stdout);
  }
  await containers.delete(id, options);
  if (container.snapshotKey === '') return;
  try {
    await snapshots.of(container.snapshotter).remove(container.snapshotKey, options);
  } catch (err) {
    if (!isCode(err, 'not found')) throw err;
  }
}

async function currentTask(tasks: TasksClient, id: string, options: CallOptions): Promise<v1Types.Process | undefined> {
  try {
    return await tasks.get(id, '', options);
  } catch (err) {
    if (isCode(err, 'not found')) return undefined;
    throw err;
  }
}
