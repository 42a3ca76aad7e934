/** containerd.services.sandbox.v1.Controller: sandboxes that run, by the shims that hold them. */
import { events, sandbox as wire, timestampNow } from '@gantry/api';
import type { types } from '@gantry/api';
import { invalidArgument, isCode, notFound, notImplemented, wrap } from '@gantry/errors';
import type { Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { bind } from '../rpc/handlers.ts';
import type { Call } from '../rpc/call.ts';
import type { Binding } from '../rpc/handlers.ts';
import type { Sandboxes } from '../sandboxes/sandboxes.ts';
import type { ShimCallOptions } from '../shims/connection.ts';
import type { Timeouts } from '../timeouts.ts';
import { readSandbox } from './sandbox-store.ts';

export interface SandboxControllerComponents {
  readonly store: Store;
  readonly sandboxes: Sandboxes;
  readonly events: Publisher;
  readonly timeouts: Timeouts;
}

/** The one controller there is, by containerd's name for it. */
const controller = 'shim';

export function sandboxControllerService(components: SandboxControllerComponents): Binding {
  const { store, sandboxes, events: publisher, timeouts } = components;
  return bind(wire.ControllerService, {
    async create(request, { namespace }) {
      checkController(request.sandboxer);
      const { sandbox: given, rootfs, options, netnsPath, annotations } = request;
      const record = given ?? readSandbox(store, namespace, request.sandboxId);
      const sandboxId = request.sandboxId === '' ? record.sandboxId : request.sandboxId;
      const sandbox: types.Sandbox = { ...record, sandboxId };
      await sandboxes.create(namespace, { sandbox, rootfs, options, netnsPath, annotations });
      publisher.publish(namespace, '/sandboxes/create', events.SandboxCreate, { sandboxId });
      return { sandboxId };
    },

    async start({ sandboxer, sandboxId }, call) {
      checkController(sandboxer);
      const { namespace } = call;
      const limits = within(timeouts.taskStartMs, call);
      const { address, version } = await sandboxes.endpoint(namespace, sandboxId);
      const started = await sandboxes.call(namespace, sandboxId, 'startSandbox', { sandboxId }, limits);
      publisher.publish(namespace, '/sandboxes/start', events.SandboxStart, { sandboxId });
      const { pid, createdAt, spec } = started;
      return { sandboxId, pid, createdAt, spec, address, version };
    },

    async platform({ sandboxer, sandboxId }, call) {
      checkController(sandboxer);
      const limits = within(timeouts.taskCallMs, call);
      return {
        platform: (await sandboxes.call(call.namespace, sandboxId, 'platform', { sandboxId }, limits)).platform,
      };
    },

    /** What is not there, or goes away meanwhile, is stopped. */
    async stop({ sandboxer, sandboxId, timeoutSecs }, call) {
      checkController(sandboxer);
      const limits = within(timeouts.taskDeleteMs + timeoutSecs * 1000, call);
      try {
        await sandboxes.call(call.namespace, sandboxId, 'stopSandbox', { sandboxId, timeoutSecs }, limits);
      } catch (err) {
        if (!isCode(err, 'not found') && !isCode(err, 'unavailable')) throw wrap(err, 'failed to stop sandbox');
      }
      return {};
    },

    async wait({ sandboxer, sandboxId }, call) {
      checkController(sandboxer);
      const { namespace, signal } = call;
      const ended = await sandboxes.call(namespace, sandboxId, 'waitSandbox', { sandboxId }, { signal });
      const { exitStatus, exitedAt } = ended;
      publisher.publish(namespace, '/sandboxes/exit', events.SandboxExit, { sandboxId, exitStatus, exitedAt });
      return { exitStatus, exitedAt };
    },

    /** Of one that is not there: that it has ended. */
    async status({ sandboxer, sandboxId, verbose }, call) {
      checkController(sandboxer);
      const { namespace } = call;
      try {
        const limits = within(timeouts.taskStateMs, call);
        const status = await sandboxes.call(namespace, sandboxId, 'sandboxStatus', { sandboxId, verbose }, limits);
        return { ...status, ...(await sandboxes.endpoint(namespace, sandboxId)) };
      } catch (err) {
        if (!isCode(err, 'not found') && !isCode(err, 'unavailable')) throw err;
        return { sandboxId, exitedAt: timestampNow() };
      }
    },

    async shutdown({ sandboxer, sandboxId }, { namespace }) {
      checkController(sandboxer);
      await sandboxes.shutdown(namespace, sandboxId);
      return {};
    },

    async metrics({ sandboxer, sandboxId }, call) {
      checkController(sandboxer);
      const limits = within(timeouts.shimStatsMs, call);
      return {
        metrics: (await sandboxes.call(call.namespace, sandboxId, 'sandboxMetrics', { sandboxId }, limits)).metrics,
      };
    },

    /** containerd says that it has and does nothing; the sandbox API of shims has no call for it. */
    update({ sandboxer, sandboxId, sandbox }, { namespace }) {
      checkController(sandboxer);
      if (sandbox === undefined) throw invalidArgument('sandbox can not be nil');
      if (sandboxes.bundleOf(namespace, sandboxId) === undefined)
        throw notFound(`sandbox ${JSON.stringify(sandboxId)}`);
      throw notImplemented('updating a sandbox that runs');
    },
  });
}

function checkController(name: string): void {
  if (name === '') throw invalidArgument('sandbox controller name can not be empty');
  if (name !== controller) throw notFound(`failed to get sandbox controller by ${name}`);
}

const within = (timeoutMs: number, { signal }: Call): ShimCallOptions => ({ timeoutMs, signal });
