/** containerd.services.sandbox.v1.Controller: sandboxes that run, by the controllers that requests name. */
import { events, sandbox as wire } from '@gantry/api';
import type { types } from '@gantry/api';
import { invalidArgument, notFound } from '@gantry/errors';
import type { Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import type { SandboxController } from '../sandboxes/sandbox-controller.ts';
import { readSandbox } from './sandbox-store.ts';

export interface SandboxControllerComponents {
  readonly store: Store;
  readonly controllers: readonly SandboxController[];
  readonly events: Publisher;
}

export function sandboxControllerService(components: SandboxControllerComponents): Binding {
  const { store, controllers, events: publisher } = components;
  const controllerNamed = (name: string): SandboxController => {
    if (name === '') throw invalidArgument('sandbox controller name can not be empty');
    const found = controllers.find((controller) => controller.name === name);
    if (found === undefined) throw notFound(`failed to get sandbox controller by ${name}`);
    return found;
  };
  return bind(wire.ControllerService, {
    async create(request, call) {
      const controller = controllerNamed(request.sandboxer);
      const { sandbox: given, rootfs, options, netnsPath, annotations } = request;
      const record = given ?? readSandbox(store, call.namespace, request.sandboxId);
      const sandboxId = request.sandboxId === '' ? record.sandboxId : request.sandboxId;
      const sandbox: types.Sandbox = { ...record, sandboxId };
      await controller.create(call, { sandbox, rootfs, options, netnsPath, annotations });
      publisher.publish(call.namespace, '/sandboxes/create', events.SandboxCreate, { sandboxId });
      return { sandboxId };
    },

    async start({ sandboxer, sandboxId }, call) {
      const started = await controllerNamed(sandboxer).start(call, sandboxId);
      publisher.publish(call.namespace, '/sandboxes/start', events.SandboxStart, { sandboxId });
      return { ...started, sandboxId };
    },

    platform: async ({ sandboxer, sandboxId }, call) => ({
      platform: await controllerNamed(sandboxer).platform(call, sandboxId),
    }),

    async stop({ sandboxer, sandboxId, timeoutSecs }, call) {
      await controllerNamed(sandboxer).stop(call, sandboxId, timeoutSecs);
      return {};
    },

    async wait({ sandboxer, sandboxId }, call) {
      const { exitStatus, exitedAt } = await controllerNamed(sandboxer).wait(call, sandboxId);
      const news = { sandboxId, exitStatus, exitedAt };
      publisher.publish(call.namespace, '/sandboxes/exit', events.SandboxExit, news);
      return { exitStatus, exitedAt };
    },

    async status({ sandboxer, sandboxId, verbose }, call) {
      const status = await controllerNamed(sandboxer).status(call, sandboxId, verbose);
      return { ...status, sandboxId };
    },

    async shutdown({ sandboxer, sandboxId }, call) {
      await controllerNamed(sandboxer).shutdown(call, sandboxId);
      return {};
    },

    metrics: async ({ sandboxer, sandboxId }, call) => ({
      metrics: await controllerNamed(sandboxer).metrics(call, sandboxId),
    }),

    async update({ sandboxer, sandboxId, sandbox, fields }, call) {
      const controller = controllerNamed(sandboxer);
      if (sandbox === undefined) throw invalidArgument('sandbox can not be nil');
      await controller.update(call, sandboxId, sandbox, fields);
      return {};
    },
  });
}
