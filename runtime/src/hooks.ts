/**
 * Hooks: programs that the configuration has called at points of a container's life (runtime specification,
 * config.md "POSIX-platform Hooks").
 *
 *   kind             in which namespaces        when                                                who calls it
 *   prestart         the runtime's              namespaces, mounts and devices are there             create.ts
 *   createRuntime    the runtime's              directly after                                       create.ts
 *   createContainer  the container's, old root  directly after                                       init/init.ts
 *   startContainer   the container's            start was called, the program is next                init/init.ts
 *   poststart        the runtime's              the program runs                                     start.ts
 *   poststop         the runtime's              the container is gone                                delete.ts
 *
 * Each gets the state as JSON on its standard input, its own arguments and environment and no descriptor of ours. The
 * lists are run in order; the first that fails ends its list.
 */
import { posix } from 'node:path';
import { deadlineExceeded, messageOf, unknown, wrap } from '@gantry/errors';
import type { Syscalls } from '@gantry/libc';
import { supportedOciVersion } from '@gantry/oci';
import type { ContainerStatus, Hook, HookKind, Spec, State } from '@gantry/oci';
import { runProgram } from './run-program.ts';

const statusIn: Readonly<Record<HookKind, ContainerStatus>> = {
  prestart: 'creating',
  createRuntime: 'creating',
  createContainer: 'creating',
  startContainer: 'created',
  poststart: 'running',
  poststop: 'stopped',
};

/** What hooks are told of the container. */
export interface HookSubject {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  /** As the hook sees it: own pid of the process inside, the host's outside. */
  readonly pid: number;
}

/** True when the configuration has hooks of one of these kinds. */
export function hasHooks({ hooks }: Spec, ...kinds: readonly HookKind[]): boolean {
  return hooks !== undefined && kinds.some((kind) => (hooks[kind] ?? []).length > 0);
}

/** Runs all hooks of a kind in `directory`. Throws the failure of the first that fails. */
export function runHooks(sys: Syscalls, kind: HookKind, subject: HookSubject, directory: string): void {
  const input = hookInput(kind, subject);
  for (const [index, hook] of (subject.spec.hooks?.[kind] ?? []).entries()) {
    try {
      runHook(sys, hook, input, directory);
    } catch (err) {
      throw wrap(err, `error running ${kind} hook #${index}`);
    }
  }
}

/** Runs each of them, whatever becomes of the others; returns what went wrong. */
export function runPoststopHooks(sys: Syscalls, hooks: readonly Hook[], input: string, directory: string): string[] {
  return hooks.flatMap((hook, index) => {
    try {
      runHook(sys, hook, input, directory);
      return [];
    } catch (err) {
      return [`error running poststop hook #${index}: ${messageOf(err)}`];
    }
  });
}

/** The state as a hook of this kind reads it. */
export function hookInput(kind: HookKind, { id, bundle, spec, pid }: HookSubject): string {
  const { annotations = {} } = spec;
  const status = statusIn[kind];
  const state: State = {
    ociVersion: supportedOciVersion,
    id,
    status,
    ...(status === 'stopped' ? {} : { pid }),
    bundle,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
  return JSON.stringify(state);
}

function runHook(sys: Syscalls, hook: Hook, input: string, directory: string): void {
  const { path, args = [path], env = [], timeout } = hook;
  const timeoutMs = timeout === undefined ? -1 : timeout * 1000;
  const argv = args.length === 0 ? [posix.basename(path)] : args;
  const { inTime, exitStatus, signal, output } = runProgram(sys, { path, argv, env, directory, input, timeoutMs });
  if (!inTime) throw deadlineExceeded(`hook ran past specified timeout of ${(timeoutMs / 1000).toFixed(1)}s`);
  if (exitStatus === 0) return;
  const how = signal === 0 ? `exit status ${exitStatus}` : `signal ${signal}`;
  throw unknown(`${how}, output: ${output}`);
}
