/** From a request to the container of it: its configuration, and the runtime that makes it or restores it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { types } from '@gantry/api/shim';
import { invalidArgument, notImplemented, wrap } from '@gantry/errors';
import type { Syscalls } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import { parseSpec } from '@gantry/oci';
import type { Container, CreateRequest, RestoreRequest, Stdio } from '@gantry/runtime';
import type { TaskEvents } from './events/task-events.ts';
import { createTimeoutMs, criuTimeoutMs } from './limits.ts';
import type { ShimLog } from './log.ts';
import { ContainerToRestore } from './process/container-to-restore.ts';
import type { Reaper } from './process/reaper.ts';
import type { StdioOwner } from './stdio/ends.ts';
import type { StdioStrings } from './stdio/open-stdio.ts';

/** What a task needs of its shim. */
export interface TaskParts {
  readonly namespace: string;
  readonly sys: Syscalls;
  readonly createContainer: (sys: Syscalls, request: CreateRequest) => Container;
  readonly restoreContainer: (sys: Syscalls, request: RestoreRequest) => Container;
  readonly reaper: Reaper;
  readonly events: TaskEvents;
  readonly log: ShimLog;
  readonly nowNs: () => bigint;
}

export interface CreateTask {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: readonly types.Mount[];
  readonly stdio: StdioStrings;
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
  readonly systemdCgroup: boolean;
  readonly stdioOwner?: StdioOwner;
  /** Directory with the images of a checkpoint that the container is made of. */
  readonly checkpoint?: string;
  /** Where criu keeps its log when it restores; absent: in the bundle. */
  readonly criuWorkPath?: string;
}

/** Init waits to be started; of a checkpoint there is nothing yet, and start makes it. */
export function makeContainer(parts: TaskParts, request: CreateTask, spec: Spec, stdio: Stdio): Container {
  const { sys } = parts;
  const { bundle, checkpoint, criuWorkPath, id, noNewKeyring, noPivot, rootfs, systemdCgroup } = request;
  const common = { id, bundle, spec, rootfs, stdio, noPivot, noNewKeyring };
  if (checkpoint === undefined) {
    return inRuntime('create', () =>
      parts.createContainer(sys, { ...common, systemdCgroup, timeoutMs: createTimeoutMs }),
    );
  }
  if (systemdCgroup) throw notImplemented('a checkpoint with runtime option systemd_cgroup');
  const workPath = criuWorkPath ?? join(bundle, 'criu-work');
  const settings = { imagePath: checkpoint, workPath, timeoutMs: criuTimeoutMs };
  return new ContainerToRestore(id, spec, () =>
    inRuntime('restore', () => parts.restoreContainer(sys, { ...common, checkpoint: settings })),
  );
}

/** The configuration in the bundle; its terminal must be as the request says. Throws invalid argument. */
export function readSpec(bundle: string, terminal: boolean): Spec {
  const spec = inRuntime('create', () => parseBundle(bundle));
  checkTerminal(spec, terminal);
  return spec;
}

function parseBundle(bundle: string): Spec {
  const path = join(bundle, 'config.json');
  let text: Buffer;
  try {
    text = readFileSync(path);
  } catch (err) {
    throw wrap(err, 'reading the bundle');
  }
  try {
    return parseSpec(text);
  } catch (err) {
    throw wrap(err, path);
  }
}

function checkTerminal(spec: Spec, terminal: boolean): void {
  if ((spec.process?.terminal ?? false) === terminal) return;
  throw invalidArgument(`terminal is ${String(terminal)} in the request, but process.terminal in config.json is not`);
}

/** Calls the runtime; its errors get the words by which clients tell them from the shim's own. */
export function inRuntime<T>(action: 'create' | 'exec' | 'checkpoint' | 'restore', call: () => T): T {
  try {
    return call();
  } catch (err) {
    throw wrap(err, `OCI runtime ${action} failed`);
  }
}
