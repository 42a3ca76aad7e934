/** The sandbox that a container says it is in, when it runs: a bundle of ours, or what its controller elsewhere says of it. */
import { keys } from '@gantry/store';
import type { Store } from '@gantry/store';
import type { Call } from '../rpc/call.ts';
import { readSandbox } from '../services/sandbox-store.ts';
import { bootstrapAt } from '../shims/foreign/bootstrap.ts';
import type { RunningSandbox } from '../shims/foreign/foreign-shims.ts';
import type { SandboxController } from './sandbox-controller.ts';
import type { Sandboxes } from './sandboxes.ts';

export interface SandboxSources {
  readonly store: Store;
  readonly sandboxes: Pick<Sandboxes, 'bundleOf'>;
  readonly controllers: readonly SandboxController[];
}

/**
 * undefined when there is none: a container may name a sandbox that never was more than a name. Throws what the controller in
 * another process throws, unavailable when it does not say where the sandbox's tasks are.
 */
export async function runningSandbox(
  { store, sandboxes, controllers }: SandboxSources,
  id: string,
  call: Call,
): Promise<RunningSandbox | undefined> {
  if (id === '') return undefined;
  const { namespace } = call;
  const bundle = sandboxes.bundleOf(namespace, id);
  if (bundle !== undefined) return { id, at: bundle };
  if (store.get(keys.sandboxes(namespace, id)) === undefined) return undefined;
  const { sandboxer } = readSandbox(store, namespace, id);
  const controller = controllers.find(({ name, isElsewhere }) => isElsewhere && name === sandboxer);
  if (controller === undefined) return undefined;
  const { address, version } = await controller.status(call, id, false);
  return { id, at: bootstrapAt(address, version) };
}
