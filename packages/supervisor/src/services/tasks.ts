/** containerd.services.tasks.v1.Tasks: finds the container and its task, then relays to the task's shim. */
import { tasks, timestampFromNs, timestampNow, typeUrls, v1Types } from '@gantry/api';
import type { PartialMessage, types } from '@gantry/api';
import { failpoint, invalidArgument, isCode, notImplemented } from '@gantry/errors';
import type { SnapshotStore } from '@gantry/snapshots';
import type { Store } from '@gantry/store';
import { compileFilters } from '../filters/index.ts';
import { taskAdaptor } from '../filters/adaptors.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import type { Call } from '../rpc/call.ts';
import { runningSandbox } from '../sandboxes/running-sandbox.ts';
import type { SandboxController } from '../sandboxes/sandbox-controller.ts';
import type { Sandboxes } from '../sandboxes/sandboxes.ts';
import type { ShimCallOptions, ShimConnection } from '../shims/connection.ts';
import { checkpointSource, checkpointTask } from '../tasks/checkpoint-task.ts';
import type { Checkpoints } from '../tasks/checkpoints.ts';
import type { TaskManager } from '../tasks/manager.ts';
import { listedState, stateOf } from '../tasks/process-state.ts';
import { rootfsOf } from '../tasks/old-clients.ts';
import type { Task } from '../tasks/task.ts';
import { waitForExit } from '../tasks/wait.ts';
import type { Timeouts } from '../timeouts.ts';
import { readContainer, requireContainer } from './containers.ts';

export interface TasksServiceComponents {
  readonly store: Store;
  readonly snapshots: Pick<SnapshotStore, 'mounts'>;
  readonly tasks: TaskManager;
  readonly sandboxes: Pick<Sandboxes, 'bundleOf'>;
  readonly controllers: readonly SandboxController[];
  readonly checkpoints: Checkpoints;
  readonly timeouts: Timeouts;
}

export function tasksService(components: TasksServiceComponents): Binding {
  const { checkpoints, snapshots, store, tasks: manager, timeouts } = components;
  /** The task of a container that must exist. */
  const find = (id: string, call: Call): Task => {
    const { namespace } = call;
    requireContainer(store, namespace, id);
    return manager.get(namespace, id);
  };

  /** The same; it is not just being created, and its shim is known to answer or not to. */
  const reach = async (id: string, call: Call): Promise<Task> => {
    await manager.settled({ namespace: call.namespace, id });
    const task = find(id, call);
    if (task.state.kind === 'resting') await manager.wake(task);
    return task;
  };

  return bind(tasks.TasksService, {
    async create(request, call) {
      const { containerId: id, stdin, stdout, stderr, terminal, checkpoint } = request;
      const { namespace } = call;
      const container = readContainer(store, namespace, id);
      const rootfs = await rootfsOf(call, snapshots, container, request.rootfs);
      const source = checkpointSource(checkpoints, { namespace, id }, checkpoint, request.options);
      const runtime = request.runtimePath === '' ? (container.runtime?.name ?? '') : request.runtimePath;
      const options = request.options ?? container.runtime?.options;
      const config = container.spec?.value ?? new Uint8Array(0);
      if (container.spec !== undefined && !container.spec.typeUrl.endsWith(typeUrls.spec)) {
        throw invalidArgument(
          `spec of container "${id}" has type ${container.spec.typeUrl}, expected ${typeUrls.spec}`,
        );
      }
      const create = manager.create({
        sandbox: await runningSandbox(components, container.sandbox, call),
        namespace,
        id,
        runtime,
        config,
        rootfs,
        stdin,
        stdout,
        stderr,
        terminal,
        options,
        checkpoint: source,
      });
      if (source === undefined) return { containerId: id, pid: await create };
      try {
        return { containerId: id, pid: await create };
      } catch (err) {
        if (manager.find({ namespace, id }) === undefined) await checkpoints.removeOf({ namespace, id });
        throw err;
      }
    },

    async start({ containerId, execId }, call) {
      const task = await reach(containerId, call);
      const shim = task.shim();
      // Nobody knows init's pid before it is restored.
      const restores = execId === '' && task.init === undefined && !task.isForeign;
      const patienceMs = restores || task.isForeign ? timeouts.taskCheckpointMs : timeouts.taskStartMs;
      const { pid } = await shim.call('start', { id: containerId, execId }, within(patienceMs, call));
      if (restores) await checkpoints.removeOf(task);
      if (execId === '') task.become(v1Types.Status.RUNNING);
      await failpoint('task.start.after-shim');
      if (execId === '') manager.note(task, pid);
      return { pid };
    },

    async delete({ containerId }, call) {
      const task = await reach(containerId, call);
      const exit = await manager.delete(task);
      await checkpoints.removeOf(task);
      return { id: containerId, pid: exit.pid, exitStatus: exit.status, exitedAt: timestampFromNs(exit.atNs) };
    },

    async deleteProcess({ containerId, execId }, call) {
      if (execId === '') throw invalidArgument('exec id cannot be empty');
      const shim = (await reach(containerId, call)).shim();
      const reply = await shim.call('delete', { id: containerId, execId }, within(timeouts.taskDeleteMs, call));
      return { id: execId, pid: reply.pid, exitStatus: reply.exitStatus, exitedAt: reply.exitedAt };
    },

    async get({ containerId, execId }, call) {
      return { process: await stateOf(await reach(containerId, call), execId, timeouts.taskStateMs) };
    },

    async checkpoint({ containerId, parentCheckpoint, options }, call) {
      const { lease, namespace } = call;
      if (parentCheckpoint !== '') throw notImplemented('a checkpoint with a parent');
      const { spec } = readContainer(store, namespace, containerId);
      const limits = within(timeouts.taskCheckpointMs, call);
      return checkpointTask(await reach(containerId, call), { checkpoints, spec, options, lease, limits });
    },

    async list(_request, call) {
      const found = manager.list(call.namespace);
      const states = await Promise.allSettled(found.map((task) => listedState(task, timeouts.taskStateMs)));
      return { tasks: states.filter((state) => state.status === 'fulfilled').map((state) => state.value) };
    },

    async kill({ containerId, execId, signal, all }, call) {
      const task = await reach(containerId, call);
      await task.shim().call('kill', { id: containerId, execId, signal, all }, within(timeouts.taskCallMs, call));
      return {};
    },

    async exec({ containerId, execId, stdin, stdout, stderr, terminal, spec }, call) {
      if (execId === '') throw invalidArgument('exec id cannot be empty');
      const shim = (await reach(containerId, call)).shim();
      const request = { id: containerId, execId, stdin, stdout, stderr, terminal, spec };
      await shim.call('exec', request, within(timeouts.taskCallMs, call));
      return {};
    },

    async resizePty({ containerId, execId, width, height }, call) {
      const task = await reach(containerId, call);
      await task
        .shim()
        .call('resizePty', { id: containerId, execId, width, height }, within(timeouts.taskCallMs, call));
      return {};
    },

    async closeIO({ containerId, execId, stdin }, call) {
      const task = await reach(containerId, call);
      await task.shim().call('closeIO', { id: containerId, execId, stdin }, within(timeouts.taskCallMs, call));
      return {};
    },

    async pause({ containerId }, call) {
      const task = await reach(containerId, call);
      manager.note(task, undefined);
      await changeInit(task, v1Types.Status.PAUSED, (shim) =>
        shim.call('pause', { id: containerId }, within(timeouts.taskCallMs, call)),
      );
      return {};
    },

    async resume({ containerId }, call) {
      const task = await reach(containerId, call);
      await changeInit(task, v1Types.Status.RUNNING, (shim) =>
        shim.call('resume', { id: containerId }, within(timeouts.taskCallMs, call)),
      );
      manager.note(task, task.init?.pid);
      return {};
    },

    async listPids({ containerId }, call) {
      const task = await reach(containerId, call);
      const { processes } = await task.shim().call('pids', { id: containerId }, within(timeouts.taskCallMs, call));
      return { processes };
    },

    async update({ containerId, resources, annotations }, call) {
      const task = await reach(containerId, call);
      await task.shim().call('update', { id: containerId, resources, annotations }, within(timeouts.taskCallMs, call));
      return {};
    },

    async metrics({ filters }, call) {
      const { namespace } = call;
      const matches = compileFilters(filters);
      const chosen = manager.list(namespace).filter(({ id }) => matches(taskAdaptor({ id, namespace })));
      const stats = async (task: Task): Promise<PartialMessage<types.Metric>> => {
        await manager.wake(task);
        return statsOf(task, timeouts.shimStatsMs);
      };
      const counted = await Promise.allSettled(chosen.map(stats));
      return { metrics: counted.filter((result) => result.status === 'fulfilled').map((result) => result.value) };
    },

    async wait({ containerId, execId }, call) {
      const exit = await waitForExit(await reach(containerId, call), execId, call.signal);
      return { exitStatus: exit.status, exitedAt: timestampFromNs(exit.atNs) };
    },
  });
}

/** Has the shim change init's status. While that is under way, and when nobody knows what came of it, only the shim can tell. */
async function changeInit(
  task: Task,
  status: number,
  change: (shim: ShimConnection) => Promise<unknown>,
): Promise<void> {
  const shim = task.shim();
  const { init } = task;
  task.init = undefined;
  try {
    await change(shim);
  } catch (err) {
    if (!isCode(err, 'deadline exceeded') && !isCode(err, 'unavailable') && !isCode(err, 'cancelled')) task.init = init;
    throw err;
  }
  if (init !== undefined) task.init = { ...init, status };
}

/** The limits of a call to a shim: what it may take, and the caller's patience. */
function within(timeoutMs: number, { signal }: Call): ShimCallOptions {
  return { timeoutMs, signal };
}

async function statsOf(task: Task, timeoutMs: number): Promise<PartialMessage<types.Metric>> {
  const { stats } = await task.shim().call('stats', { id: task.id }, { timeoutMs });
  return { timestamp: timestampNow(), id: task.id, data: stats };
}
