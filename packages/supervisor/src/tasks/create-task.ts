/**
 * Creating a task, step by step; each step is undone when a later one fails, on a deadline of its own.
 *
 *   1 intent record, durable   2 bundle   3 shim process   4 connection   5 Create in the shim
 */
import { createHash } from 'node:crypto';
import { nowNs, taskV3 } from '@gantry/api';
import type { types, wellKnown } from '@gantry/api';
import { messageOf, wrap } from '@gantry/errors';
import { parseSpec } from '@gantry/oci';
import { keys } from '@gantry/store';
import { failpoint } from '../failpoints.ts';
import { ShimConnection } from '../shims/connection.ts';
import type { LaunchedShim } from '../shims/launcher.ts';
import { checkRuntimeName, checkRuntimeOptions, optionsAsJson } from '../shims/runtime-name.ts';
import type { TaskManager } from './manager.ts';
import { encodeTask } from './record.ts';
import type { Task } from './task.ts';

export interface CreateTask {
  readonly namespace: string;
  readonly id: string;
  readonly runtime: string;
  /** config.json as the client wrote it. */
  readonly config: Uint8Array;
  readonly rootfs: readonly types.Mount[];
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  readonly options: wellKnown.Any | undefined;
}

/** Tells whether two create requests ask for the same. */
export function fingerprint(request: CreateTask): string {
  const { config, options, rootfs, runtime, stdin, stdout, stderr, terminal } = request;
  const hash = createHash('sha256').update(config);
  hash.update(JSON.stringify([rootfs, runtime, stdin, stdout, stderr, terminal, options?.typeUrl]));
  if (options !== undefined) hash.update(options.value);
  return hash.digest('hex');
}

/** Resolves to the pid of init. Throws with nothing left behind. */
export async function createTask(manager: TaskManager, request: CreateTask): Promise<number> {
  checkRuntimeName(request.runtime);
  checkRuntimeOptions(request.options);
  parseSpec(request.config);
  const { bundles, launcher, log, store, timeouts } = manager.components;
  const { namespace, id, runtime, stdin, stdout, stderr, terminal } = request;
  const record = { runtime, createdAtNs: nowNs(), stdin, stdout, stderr, terminal, exit: undefined };
  const task = manager.add(request, record);
  let shim: LaunchedShim | undefined;
  try {
    await store.transact((tx) => tx.put(keys.tasks(namespace, id), encodeTask(record)));
    await failpoint('task.create.after-intent');
    // What an earlier failure could not remove is nobody's by now.
    if (await bundles.exists(request)) await manager.discard(request, await bundles.readShim(request));
    const bundle = await bundles.create(request, request.config, optionsAsJson(request.options));
    await failpoint('task.create.after-bundle');
    shim = await launcher.launch(manager.shimRequest(request));
    await failpoint('task.create.after-launch');
    await bundles.writeShim(request, shim.process);
    await failpoint('task.create.after-shim-pid');
    const connection = await ShimConnection.connect(shim.address, timeouts.shimLoadMs);
    try {
      const { pid } = await connection.call('create', shimRequest(request, bundle), {
        timeoutMs: timeouts.taskCreateMs,
      });
      await failpoint('task.create.after-create');
      manager.attach(task, connection);
      log.info({ ns: namespace, container: id, shim_pid: shim.process.pid, pid }, 'task created');
      return pid;
    } catch (err) {
      connection.close();
      throw wrap(err, 'failed to create shim task');
    }
  } catch (err) {
    await undo(manager, task, shim);
    throw err;
  }
}

function shimRequest(request: CreateTask, bundle: string): taskV3.CreateTaskRequest {
  const { id, options, rootfs, stdin, stdout, stderr, terminal } = request;
  return taskV3.CreateTaskRequest.create({ id, bundle, rootfs, stdin, stdout, stderr, terminal, options });
}

/** Takes back every step; what fails is logged and the rest goes on. The caller's deadline plays no part. */
async function undo(manager: TaskManager, task: Task, shim: LaunchedShim | undefined): Promise<void> {
  const { log } = manager.components;
  for (const step of [() => manager.discard(task, shim?.process), () => manager.forget(task)]) {
    try {
      await step();
    } catch (err) {
      log.error({ ns: task.namespace, container: task.id, err: messageOf(err) }, 'undoing a failed create');
    }
  }
}
