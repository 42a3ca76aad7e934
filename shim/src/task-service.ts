/**
 * `containerd.task.v3.Task` and `v2.Task`: translates and routes; the task decides.
 *
 * Both versions have the same shapes and get the same handlers. A shim serves one container: the one it was started
 * for.
 */
import { cgroupsV1, cgroupsV2, packAny, runcOptions, taskV3, timestampFromNs } from '@gantry/api/shim';
import type { wellKnown } from '@gantry/api/shim';
import { alreadyExists, invalidArgument, notFound, notImplemented } from '@gantry/errors';
import { parseLinuxResources } from '@gantry/oci';
import { parseCheckpointOptions } from './checkpoint-options.ts';
import type { EventQueue } from './events/event-queue.ts';
import { createExternal, restoreExternal } from './external/external-container.ts';
import { parseRuntimeOptions } from './runtime-options.ts';
import type { RuntimeOptions } from './runtime-options.ts';
import type { Exit } from './process/reaper.ts';
import { statusOfState } from './process/states.ts';
import { Task } from './task.ts';
import type { CreateTask, TaskParts } from './make-container.ts';

/** What the service needs of its shim. */
export interface TaskServiceParts extends TaskParts {
  readonly id: string;
  readonly version: string;
  readonly queue: EventQueue;
  /** Moves the shim into a cgroup that exists. */
  readonly joinCgroup: (path: string) => void;
  /** Shutdown was asked for and nothing is left. */
  readonly onShutdown: () => void;
}

const empty = {};

export class TaskService {
  readonly #parts: TaskServiceParts;
  #task: Task | undefined;
  #creating = false;

  constructor(parts: TaskServiceParts) {
    this.#parts = parts;
  }

  /** True when there is a container, in whatever state, or one is being made. */
  get isOccupied(): boolean {
    return this.#task !== undefined || this.#creating;
  }

  async create(request: taskV3.CreateTaskRequest): Promise<taskV3.CreateTaskResponse> {
    if (request.id !== this.#parts.id) throw invalidArgument(`container "${request.id}": this shim is for another`);
    if (this.isOccupied) throw alreadyExists(`container "${request.id}"`);
    if (request.parentCheckpoint !== '') throw notImplemented('create from a checkpoint with a parent');
    for (const path of [request.bundle, request.checkpoint]) {
      if (path !== '' && !path.startsWith('/')) throw invalidArgument(`"${path}": not an absolute path`);
    }
    if (!request.bundle.startsWith('/')) throw invalidArgument(`bundle "${request.bundle}": not an absolute path`);
    const options = parseRuntimeOptions(request.options, this.#parts.namespace);
    this.#creating = true;
    try {
      if (options.shimCgroup !== '') this.#parts.joinCgroup(options.shimCgroup);
      this.#task = await Task.create(this.#partsFor(options), toCreateTask(request, options));
    } finally {
      this.#creating = false;
    }
    this.#parts.log.info('created', { container: request.id, pid: this.#task.init.pid });
    return taskV3.CreateTaskResponse.create({ pid: this.#task.init.pid });
  }

  /** Somebody else's runtime takes the place of ours. */
  #partsFor({ external }: RuntimeOptions): TaskParts {
    if (external === undefined) return this.#parts;
    return {
      ...this.#parts,
      createContainer: (sys, request) => createExternal(sys, external, request),
      restoreContainer: (sys, request) => restoreExternal(sys, external, request),
    };
  }

  async start(request: taskV3.StartRequest): Promise<taskV3.StartResponse> {
    const task = this.#find(request.id);
    const pid = request.execId === '' ? await task.start() : await task.startExec(request.execId);
    return taskV3.StartResponse.create({ pid });
  }

  async delete(request: taskV3.DeleteRequest): Promise<taskV3.DeleteResponse> {
    const task = this.#find(request.id);
    if (request.execId !== '') return deleteResponse(await task.deleteExec(request.execId));
    const exit = await task.delete();
    this.#task = undefined;
    this.#parts.log.info('deleted', { container: request.id, exit_status: exit.exitStatus });
    return deleteResponse(exit);
  }

  state(request: taskV3.StateRequest): taskV3.StateResponse {
    const task = this.#find(request.id);
    const exec = request.execId === '' ? undefined : task.exec(request.execId);
    const process = exec ?? task.init;
    const { exit } = process.latch;
    return taskV3.StateResponse.create({
      id: exec?.id ?? task.id,
      execId: request.execId,
      bundle: task.bundle,
      pid: process.pid,
      status: statusOfState[process.state],
      ...process.strings,
      ...(exit === undefined ? {} : { exitStatus: exit.exitStatus, exitedAt: timestampFromNs(exit.exitedAtNs) }),
    });
  }

  pids(request: taskV3.PidsRequest): taskV3.PidsResponse {
    const processes = this.#find(request.id)
      .pids()
      .map(({ pid, execId }) =>
        execId === undefined ? { pid } : { pid, info: packAny(runcOptions.ProcessDetails, { execId }) },
      );
    return taskV3.PidsResponse.create({ processes });
  }

  pause(request: taskV3.PauseRequest): wellKnown.Empty {
    this.#find(request.id).pause();
    return empty;
  }

  resume(request: taskV3.ResumeRequest): wellKnown.Empty {
    this.#find(request.id).resume();
    return empty;
  }

  async checkpoint(request: taskV3.CheckpointTaskRequest): Promise<wellKnown.Empty> {
    const task = this.#find(request.id);
    if (!request.path.startsWith('/')) throw invalidArgument(`checkpoint path "${request.path}": not an absolute path`);
    await task.checkpoint(request.path, parseCheckpointOptions(request.options));
    return empty;
  }

  kill(request: taskV3.KillRequest): wellKnown.Empty {
    const task = this.#find(request.id);
    if (request.execId === '') task.init.kill(request.signal, request.all);
    else task.killExec(request.execId, request.signal);
    return empty;
  }

  exec(request: taskV3.ExecProcessRequest): wellKnown.Empty {
    const { terminal, stdin, stdout, stderr } = request;
    const task = this.#find(request.id);
    if (request.spec === undefined) throw invalidArgument('exec: spec is missing');
    task.addExec(request.execId, request.spec.value, { terminal, stdin, stdout, stderr });
    return empty;
  }

  resizePty(request: taskV3.ResizePtyRequest): wellKnown.Empty {
    const task = this.#find(request.id);
    const size = { columns: request.width, rows: request.height };
    if (request.execId === '') {
      task.init.check('resize');
      task.init.stdio.resize(size);
    } else task.exec(request.execId).resize(size);
    return empty;
  }

  closeIO(request: taskV3.CloseIORequest): wellKnown.Empty {
    const task = this.#find(request.id);
    if (!request.stdin) return empty;
    if (request.execId === '') task.init.stdio.closeStdin();
    else task.exec(request.execId).closeStdin();
    return empty;
  }

  update(request: taskV3.UpdateTaskRequest): wellKnown.Empty {
    const task = this.#find(request.id);
    if (request.resources === undefined) throw invalidArgument('update: resources are missing');
    task.update(parseLinuxResources(Buffer.from(request.resources.value)));
    return empty;
  }

  async wait(request: taskV3.WaitRequest, context: { readonly signal: AbortSignal }): Promise<taskV3.WaitResponse> {
    const task = this.#find(request.id);
    const process = request.execId === '' ? task.init : task.exec(request.execId);
    const exit = await process.latch.wait(context.signal);
    const exitedAt = timestampFromNs(exit.exitedAtNs);
    return taskV3.WaitResponse.create({ exitStatus: exit.exitStatus, exitedAt });
  }

  stats(request: taskV3.StatsRequest): taskV3.StatsResponse {
    const stats = this.#find(request.id).stats();
    const packed =
      stats.kind === 'v1'
        ? packAny(cgroupsV1.Metrics, cgroupsV1.Metrics.create(stats.metrics))
        : packAny(cgroupsV2.Metrics, cgroupsV2.Metrics.create(stats.metrics));
    return taskV3.StatsResponse.create({ stats: packed });
  }

  /** Also the supervisor's sign of life: what waits to be announced is offered at once. */
  connect(): taskV3.ConnectResponse {
    this.#parts.queue.nudge();
    return taskV3.ConnectResponse.create({
      shimPid: this.#parts.sys.getpid(),
      taskPid: this.#task?.init.pid ?? 0,
      version: this.#parts.version,
    });
  }

  /** While there is a container this does nothing, successfully. */
  shutdown(): wellKnown.Empty {
    if (!this.isOccupied) this.#parts.onShutdown();
    return empty;
  }

  /** The sentence by which containerd's supervisor recognises a shim without its container. */
  #find(id: string): Task {
    if (this.#task === undefined || this.#task.id !== id) throw notFound('container not created');
    return this.#task;
  }
}

function toCreateTask(request: taskV3.CreateTaskRequest, options: RuntimeOptions): CreateTask {
  const { terminal, stdin, stdout, stderr } = request;
  return {
    id: request.id,
    bundle: request.bundle,
    rootfs: request.rootfs,
    stdio: { terminal, stdin, stdout, stderr },
    noPivot: options.noPivot,
    noNewKeyring: options.noNewKeyring,
    systemdCgroup: options.systemdCgroup,
    ...(request.checkpoint === '' ? {} : { checkpoint: request.checkpoint }),
    ...(options.criuWorkPath === '' ? {} : { criuWorkPath: options.criuWorkPath }),
    ...(options.stdioOwner === undefined ? {} : { stdioOwner: options.stdioOwner }),
  };
}

function deleteResponse(exit: Exit): taskV3.DeleteResponse {
  const { pid, exitStatus, exitedAtNs } = exit;
  return taskV3.DeleteResponse.create({
    pid,
    exitStatus,
    ...(exitedAtNs === 0n ? {} : { exitedAt: timestampFromNs(exitedAtNs) }),
  });
}
