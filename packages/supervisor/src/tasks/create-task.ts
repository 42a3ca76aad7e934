/**
 * Creating a task, step by step; each step is undone when a later one fails, on a deadline of its own.
 *
 *   1 intent record   2 a shim's process   3 bundle, naming it   4 Adopt   5 Create in the shim
 *
 * Adopt and Create go out together: the shim does one after the other. A spare that dies of 2 to 4 is replaced once.
 */
import { createHash } from 'node:crypto';
import { nowNs, taskV3, v1Types } from '@gantry/api';
import type { types, wellKnown } from '@gantry/api';
import { failpoint, isCode, messageOf, wrap } from '@gantry/errors';
import type { RunningSandbox } from '../shims/foreign/foreign-shims.ts';
import type { LaunchedShim } from '../shims/launcher.ts';
import type { ProcessIdentity } from '../shims/process-identity.ts';
import type { Runtime } from '../shims/runtime-name.ts';
import { mapBinary, optionsAsJson, resolveRuntime } from '../shims/runtime-name.ts';
import { shimEntry } from '../shims/shim-program.ts';
import type { TaskName } from './bundle.ts';
import type { CheckpointSource } from './checkpoint-task.ts';
import type { TaskManager } from './manager.ts';
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
  /** The sandbox that runs and that the container says it is in; its shim is used when it is not one of ours. */
  readonly sandbox: RunningSandbox | undefined;
  /** What the task is restored from, when it is started; its directory outlives the create. */
  readonly checkpoint: CheckpointSource | undefined;
}

/** Tells whether two create requests ask for the same. */
export function fingerprint(request: CreateTask): string {
  const { checkpoint, config, options, rootfs, runtime, stdin, stdout, stderr, terminal } = request;
  const hash = createHash('sha256').update(config);
  hash.update(JSON.stringify([rootfs, runtime, stdin, stdout, stderr, terminal, options?.typeUrl, checkpoint?.name]));
  if (options !== undefined) hash.update(options.value);
  return hash.digest('hex');
}

/** Resolves to the pid of init, 0 when that is to be restored. Throws with nothing left behind. */
export async function createTask(manager: TaskManager, given: CreateTask): Promise<number> {
  const { binaries, bundles, log, records, runtimes } = manager.components;
  const resolved = resolveRuntime(given.runtime, runtimes);
  // A task in another process's sandbox is that sandbox's shim's, whatever the runtime is called.
  const elsewhere = given.sandbox !== undefined && typeof given.sandbox.at !== 'string';
  const found: Runtime = elsewhere && resolved.kind === 'own' ? { kind: 'foreign', binary: shimEntry() } : resolved;
  const request = found.kind === 'own' ? { ...given, options: mapBinary(given.options, binaries) } : given;
  const { namespace, id, runtime, stdin, stdout, stderr, terminal } = request;
  const record = {
    runtime,
    createdAtNs: nowNs(),
    stdin,
    stdout,
    stderr,
    terminal,
    runningPid: undefined,
    exit: undefined,
  };
  const task = manager.add(request, record, found.kind === 'foreign');
  const steps: Steps = { shim: undefined };
  try {
    records.create(request, record);
    await failpoint('task.create.after-intent');
    const directory = await request.checkpoint?.open();
    const { shim, pid } = await launchAndCreate(manager, request, found, steps, directory);
    if (found.kind === 'foreign') await bundles.noteForeign(request, shim.process, pid);
    await failpoint('task.create.after-create');
    task.process = shim.process;
    const init = { pid, status: v1Types.Status.CREATED, exitStatus: 0, exitedAtNs: undefined };
    manager.attach(task, shim.connection, init);
    log.info({ ns: namespace, container: id, shim_pid: shim.process?.pid, pid }, 'task created');
    return pid;
  } catch (err) {
    steps.shim?.connection.close();
    await undo(manager, task, steps);
    throw err;
  }
}

type AnyShim = LaunchedShim<ProcessIdentity | undefined>;

/** What there is to take back. */
interface Steps {
  shim: AnyShim | undefined;
}

/** A spare that dies as it is handed over is made up for by another, once. */
async function launchAndCreate(
  manager: TaskManager,
  request: CreateTask,
  runtime: Runtime,
  steps: Steps,
  checkpoint: string | undefined,
): Promise<{ readonly shim: AnyShim; readonly pid: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const shim = await (runtime.kind === 'own' ? launch(manager, request) : launchForeign(manager, request, runtime));
    steps.shim = shim;
    try {
      await failpoint('task.create.after-launch');
      return { shim, pid: await createInShim(manager, request, shim, checkpoint) };
    } catch (err) {
      if (attempt > 1 || !(await wasLost(shim))) throw err;
      shim.connection.close();
      await manager.discard(request, shim.process);
    }
  }
}

function launch(manager: TaskManager, request: CreateTask): Promise<LaunchedShim> {
  const contents = { config: request.config, optionsJson: optionsAsJson(request.options) };
  return manager.components.launcher.launch(manager.shimRequest(request), contents, async (process) => {
    await makeBundle(manager, request, process);
    await failpoint('task.create.after-bundle');
  });
}

/** A shim that is not ours has no process yet when its bundle is made. */
async function launchForeign(
  manager: TaskManager,
  request: CreateTask,
  { binary }: Extract<Runtime, { kind: 'foreign' }>,
): Promise<AnyShim> {
  await makeBundle(manager, request, undefined);
  await failpoint('task.create.after-bundle');
  const { config, options, sandbox } = request;
  const { foreign } = manager.components;
  const contents = { binary, config, options };
  try {
    return await (sandbox === undefined
      ? foreign.launch(manager.shimRequest(request), contents)
      : foreign.join(manager.shimRequest(request), contents, sandbox));
  } catch (err) {
    throw wrap(err, 'failed to start shim');
  }
}

/** Whether the line broke before the shim said that it has taken the bundle over. */
async function wasLost({ adopted }: AnyShim): Promise<boolean> {
  return await adopted.then(
    () => false,
    (err: unknown) => isCode(err, 'unavailable'),
  );
}

/** What an earlier failure could not remove is nobody's by now, and goes. */
async function makeBundle(manager: TaskManager, name: TaskName, shim: ProcessIdentity | undefined): Promise<void> {
  const { bundles } = manager.components;
  try {
    bundles.create(name, shim);
  } catch (err) {
    if (!isCode(err, 'already exists')) throw err;
    await manager.discard(name, bundles.readShim(name));
    bundles.create(name, shim);
  }
}

/** Resolves to the pid of init. */
async function createInShim(
  manager: TaskManager,
  request: CreateTask,
  shim: AnyShim,
  checkpoint: string | undefined,
): Promise<number> {
  const { bundles, timeouts } = manager.components;
  const wanted = shimRequest(request, bundles.pathOf(request), checkpoint);
  const created = shim.connection.call('create', wanted, { timeoutMs: timeouts.taskCreateMs });
  const [adopted, outcome] = await Promise.allSettled([shim.adopted, created]);
  if (adopted.status === 'rejected') throw wrap(adopted.reason, 'failed to start shim');
  if (outcome.status === 'rejected') throw wrap(outcome.reason, 'failed to create shim task');
  return outcome.value.pid;
}

function shimRequest(request: CreateTask, bundle: string, checkpoint: string | undefined): taskV3.CreateTaskRequest {
  const { id, options, rootfs, stdin, stdout, stderr, terminal } = request;
  const wanted = { id, bundle, rootfs, stdin, stdout, stderr, terminal, options };
  return taskV3.CreateTaskRequest.create(checkpoint === undefined ? wanted : { ...wanted, checkpoint });
}

/** Takes back every step; what fails is logged and the rest goes on. The caller's deadline plays no part. */
async function undo(manager: TaskManager, task: Task, { shim }: Steps): Promise<void> {
  const { log } = manager.components;
  for (const step of [() => manager.discard(task, shim?.process), () => manager.forget(task)]) {
    try {
      await step();
    } catch (err) {
      log.error({ ns: task.namespace, container: task.id, err: messageOf(err) }, 'undoing a failed create');
    }
  }
}
