/** The calls that make up a container's life, each as a client makes it. */
import { containers, packJsonAny, snapshots, tasks, typeUrls } from '@gantry/api';
import type { types } from '@gantry/api';
import { hasStatus } from '../connection.ts';
import { snapshotter } from '../peers/side.ts';
import type { Side } from '../peers/side.ts';
import { processOf, specOf } from './spec.ts';

/** Where a process's output goes; '' is nowhere. */
export interface Stdio {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

export const nullStdio: Stdio = { stdin: '', stdout: '', stderr: '' };

/**
 * A snapshot for the container. It is labelled as a root of garbage collection until it is removed: real clients hold
 * a lease for the same reason, at two calls more.
 */
export async function prepareSnapshot(side: Side, id: string): Promise<types.Mount[]> {
  const labels = { 'containerd.io/gc.root': '2020-01-01T00:00:00Z' };
  const request = { snapshotter, key: id, parent: side.parent, labels };
  return (await side.connection.call(snapshots.SnapshotsService, 'prepare', request)).mounts;
}

export async function createContainer(side: Side, id: string, args: readonly string[]): Promise<void> {
  const spec = packJsonAny(typeUrls.spec, specOf(args, `${side.cgroup}/${id}`));
  const container = { id, runtime: side.runtime, spec, snapshotter, snapshotKey: id, labels: {} };
  await side.connection.call(containers.ContainersService, 'create', { container });
}

/** Everything but the start; resolves with the pid. */
export async function createTask(
  side: Side,
  id: string,
  rootfs: readonly types.Mount[],
  stdio: Stdio = nullStdio,
): Promise<number> {
  const request = { containerId: id, rootfs, ...stdio, terminal: false, options: side.runtime.options };
  return (await side.connection.call(tasks.TasksService, 'create', request)).pid;
}

export async function startProcess(side: Side, id: string, execId = ''): Promise<void> {
  await side.connection.call(tasks.TasksService, 'start', { containerId: id, execId });
}

/** Resolves with the exit status; to be asked before the start, as clients do. */
export async function waitForProcess(side: Side, id: string, execId = ''): Promise<number> {
  const request = { containerId: id, execId };
  return (await side.connection.call(tasks.TasksService, 'wait', request, 0)).exitStatus;
}

export async function addExec(side: Side, id: string, execId: string, args: readonly string[]): Promise<void> {
  const spec = packJsonAny(typeUrls.process, processOf(args));
  await side.connection.call(tasks.TasksService, 'exec', { containerId: id, execId, ...nullStdio, spec });
}

export async function deleteExec(side: Side, id: string, execId: string): Promise<void> {
  await side.connection.call(tasks.TasksService, 'deleteProcess', { containerId: id, execId });
}

export async function deleteTask(side: Side, id: string): Promise<void> {
  await side.connection.call(tasks.TasksService, 'delete', { containerId: id });
}

export async function deleteContainer(side: Side, id: string): Promise<void> {
  await side.connection.call(containers.ContainersService, 'delete', { id });
}

export async function removeSnapshot(side: Side, id: string): Promise<void> {
  await side.connection.call(snapshots.SnapshotsService, 'remove', { snapshotter, key: id });
}

/** Snapshot, record and a running task. */
export async function runContainer(side: Side, id: string, args: readonly string[]): Promise<void> {
  const mounts = await prepareSnapshot(side, id);
  await createContainer(side, id, args);
  await createTask(side, id, mounts);
  await startProcess(side, id);
}

/** Removes a container in whatever state it is; what is not there is removed already. */
export async function removeContainer(side: Side, id: string): Promise<void> {
  const absentIsFine = async (step: Promise<unknown>): Promise<void> => {
    try {
      await step;
    } catch (err) {
      if (!hasStatus(err, 5)) throw err;
    }
  };
  const exited = waitForProcess(side, id).catch(() => 0);
  await absentIsFine(side.connection.call(tasks.TasksService, 'kill', { containerId: id, signal: 9, all: false }));
  await exited;
  await absentIsFine(deleteTask(side, id));
  await absentIsFine(deleteContainer(side, id));
  await absentIsFine(removeSnapshot(side, id));
}
