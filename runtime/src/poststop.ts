/** The hooks of a container's end: they are called also by a process that was not there at its beginning. */
import type { Syscalls } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import { hasHooks, hookInput, runPoststopHooks } from './hooks.ts';
import type { PoststopHooks } from './state.ts';

/** For the state; undefined when the configuration has none. */
export function poststopOf(container: {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
}): { readonly poststop: PoststopHooks } | undefined {
  const { id, bundle, spec } = container;
  if (!hasHooks(spec, 'poststop')) return undefined;
  const input = hookInput('poststop', { id, bundle, spec, pid: 0 });
  return { poststop: { hooks: spec.hooks?.poststop ?? [], bundle, input } };
}

/** Calls them. What goes wrong keeps nothing back: the container is gone, and there is nobody to undo it for. */
export function runPoststop(sys: Syscalls, { poststop }: { readonly poststop: PoststopHooks }): string[] {
  return runPoststopHooks(sys, poststop.hooks, poststop.input, poststop.bundle);
}
