/** Sandboxes by the shims that hold them. */
import { timestampNow } from '@gantry/api';
import type { sandbox as wire, types } from '@gantry/api';
import { isCode, notFound, notImplemented, wrap } from '@gantry/errors';
import type { Call } from '../rpc/call.ts';
import type { ShimCallOptions } from '../shims/connection.ts';
import type { Timeouts } from '../timeouts.ts';
import type { SandboxController } from './sandbox-controller.ts';
import type { NewSandbox, Sandboxes } from './sandboxes.ts';

export class ShimController implements SandboxController {
  /** containerd's name for it. */
  readonly name = 'shim';
  readonly isElsewhere = false;
  readonly #sandboxes: Sandboxes;
  readonly #timeouts: Timeouts;

  constructor(sandboxes: Sandboxes, timeouts: Timeouts) {
    this.#sandboxes = sandboxes;
    this.#timeouts = timeouts;
  }

  async create({ namespace }: Call, sandbox: NewSandbox): Promise<void> {
    await this.#sandboxes.create(namespace, sandbox);
  }

  async start(call: Call, sandboxId: string): Promise<Omit<wire.ControllerStartResponse, 'sandboxId'>> {
    const { namespace } = call;
    const limits = within(this.#timeouts.taskStartMs, call);
    const endpoint = await this.#sandboxes.endpoint(namespace, sandboxId);
    const started = await this.#sandboxes.call(namespace, sandboxId, 'startSandbox', { sandboxId }, limits);
    const { pid, createdAt, spec } = started;
    return { pid, createdAt, spec, labels: {}, ...endpoint };
  }

  async platform(call: Call, sandboxId: string): Promise<types.Platform | undefined> {
    const limits = within(this.#timeouts.taskCallMs, call);
    return (await this.#sandboxes.call(call.namespace, sandboxId, 'platform', { sandboxId }, limits)).platform;
  }

  async stop(call: Call, sandboxId: string, timeoutSecs: number): Promise<void> {
    const limits = within(this.#timeouts.taskDeleteMs + timeoutSecs * 1000, call);
    try {
      await this.#sandboxes.call(call.namespace, sandboxId, 'stopSandbox', { sandboxId, timeoutSecs }, limits);
    } catch (err) {
      if (!isCode(err, 'not found') && !isCode(err, 'unavailable')) throw wrap(err, 'failed to stop sandbox');
    }
  }

  async wait({ namespace, signal }: Call, sandboxId: string): Promise<wire.ControllerWaitResponse> {
    const ended = await this.#sandboxes.call(namespace, sandboxId, 'waitSandbox', { sandboxId }, { signal });
    return { exitStatus: ended.exitStatus, exitedAt: ended.exitedAt };
  }

  async status(
    call: Call,
    sandboxId: string,
    verbose: boolean,
  ): Promise<Omit<wire.ControllerStatusResponse, 'sandboxId'>> {
    const { namespace } = call;
    try {
      const limits = within(this.#timeouts.taskStateMs, call);
      const status = await this.#sandboxes.call(namespace, sandboxId, 'sandboxStatus', { sandboxId, verbose }, limits);
      return { ...status, ...(await this.#sandboxes.endpoint(namespace, sandboxId)) };
    } catch (err) {
      if (!isCode(err, 'not found') && !isCode(err, 'unavailable')) throw err;
      const nothing = { createdAt: undefined, extra: undefined, info: {}, pid: 0, state: '', address: '', version: 0 };
      return { ...nothing, exitedAt: timestampNow() };
    }
  }

  async shutdown({ namespace }: Call, sandboxId: string): Promise<void> {
    await this.#sandboxes.shutdown(namespace, sandboxId);
  }

  async metrics(call: Call, sandboxId: string): Promise<types.Metric | undefined> {
    const limits = within(this.#timeouts.shimStatsMs, call);
    return (await this.#sandboxes.call(call.namespace, sandboxId, 'sandboxMetrics', { sandboxId }, limits)).metrics;
  }

  /** containerd says that it has and does nothing; the sandbox API of shims has no call for it. */
  async update({ namespace }: Call, sandboxId: string): Promise<void> {
    if (this.#sandboxes.bundleOf(namespace, sandboxId) === undefined) {
      throw notFound(`sandbox ${JSON.stringify(sandboxId)}`);
    }
    throw notImplemented('updating a sandbox that runs');
  }
}

const within = (timeoutMs: number, { signal }: Call): ShimCallOptions => ({ timeoutMs, signal });
