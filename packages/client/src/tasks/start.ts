/** Makes processes: a container's task, an exec in it, and the way back to a task whose client has gone. */
import { randomBytes } from 'node:crypto';
import type { containers, types, wellKnown } from '@gantry/api';
import { failedPrecondition } from '@gantry/errors';
import { parseSpec } from '@gantry/oci';
import type { Spec } from '@gantry/oci';
import { userOf } from '../containers/create.ts';
import { Fifos } from '../io/fifos.ts';
import type { ContainersClient } from '../services/containers.ts';
import type { SnapshotsClient } from '../services/snapshots.ts';
import type { TasksClient } from '../services/tasks.ts';
import { generateExecProcess } from '../spec/generate.ts';
import { hostPrivileges } from '../spec/privileged.ts';
import type { CallOptions } from '../transport/call-options.ts';
import { TaskProcess } from './process.ts';
import { openStdio } from './stdio.ts';
import type { StdioRequest } from './stdio.ts';

export interface TaskComponents {
  readonly containers: ContainersClient;
  readonly tasks: TasksClient;
  readonly snapshots: SnapshotsClient;
}

export interface CreateTaskOptions extends CallOptions {
  readonly stdio: StdioRequest;
  /** Options of the runtime for this task, packed. */
  readonly runtimeOptions?: wellKnown.Any | undefined;
}

/**
 * Creates the task of a container: its init is set up and waits. The rootfs is the container's snapshot; whether there
 * is a terminal is what its spec says. Throws already exists, not found.
 */
export async function createTask(
  components: TaskComponents,
  containerId: string,
  options: CreateTaskOptions,
): Promise<TaskProcess> {
  const container = await components.containers.get(containerId, options);
  const terminal = specOf(container).process?.terminal ?? false;
  const rootfs = await rootfsMounts(components, container, options);
  const stdio = openStdio(options.stdio, { id: containerId, terminal });
  try {
    const request = { containerId, rootfs, terminal, ...stdio.paths, options: options.runtimeOptions };
    const pid = await components.tasks.create(request, options);
    return new TaskProcess(components.tasks, { containerId, execId: '', pid }, stdio);
  } catch (err) {
    stdio.fifos?.close();
    throw err;
  }
}

export interface ExecOptions extends CallOptions {
  readonly args: readonly string[];
  readonly stdio: StdioRequest;
  /** Default: a random one. */
  readonly execId?: string | undefined;
  readonly env?: readonly string[] | undefined;
  readonly workdir?: string | undefined;
  readonly terminal?: boolean | undefined;
  readonly terminalSize?: { readonly columns: number; readonly rows: number } | undefined;
  readonly user?: string | undefined;
  readonly privileged?: boolean | undefined;
}

/** Adds a process with the identity and limits of the container's init, but for what the options change. */
export async function execInTask(
  components: TaskComponents,
  containerId: string,
  options: ExecOptions,
): Promise<TaskProcess> {
  const container = await components.containers.get(containerId, options);
  const { user } = options;
  const process = generateExecProcess(specOf(container), {
    ...options,
    user: user === undefined ? undefined : await userOf(user, () => rootfsMounts(components, container, options)),
    privileged: options.privileged === true ? hostPrivileges() : undefined,
  });
  const execId = options.execId ?? `exec-${randomBytes(8).toString('hex')}`;
  const stdio = openStdio(options.stdio, { id: containerId, terminal: options.terminal ?? false });
  try {
    await components.tasks.exec(containerId, { execId, process, ...stdio.paths }, options);
    return new TaskProcess(components.tasks, { containerId, execId, pid: 0 }, stdio);
  } catch (err) {
    stdio.fifos?.close();
    throw err;
  }
}

/** Throws failed precondition when the task's output does not go to pipes. */
export async function attachTask(
  components: TaskComponents,
  containerId: string,
  options: CallOptions = {},
): Promise<TaskProcess> {
  const { stdin, stdout, stderr, pid } = await components.tasks.get(containerId, '', options);
  if (!stdout.startsWith('/')) {
    throw failedPrecondition(
      `container "${containerId}" writes to ${stdout === '' ? 'nowhere' : stdout}, not to pipes`,
    );
  }
  const fifos = Fifos.reopen({ stdin, stdout, stderr });
  return new TaskProcess(components.tasks, { containerId, execId: '', pid }, { paths: fifos.paths, fifos });
}

/** The runtime spec stored with a container. Throws invalid argument when it is not one. */
export function specOf(container: containers.Container): Spec {
  return parseSpec(Buffer.from(container.spec?.value ?? new Uint8Array()));
}

async function rootfsMounts(
  components: TaskComponents,
  container: containers.Container,
  options: CallOptions,
): Promise<types.Mount[]> {
  if (container.snapshotKey === '') return [];
  return components.snapshots.of(container.snapshotter).mounts(container.snapshotKey, options);
}
