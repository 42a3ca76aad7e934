/**
 * A sandbox controller in another process, behind containerd's own Controller service: it starts and ends what sandboxes are made of,
 * the records of them stay here.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { sandbox as wire } from '@gantry/api';
import type { MethodType, PartialMessage, types } from '@gantry/api';
import { isCode } from '@gantry/errors';
import type { ProxyPlugin } from '../config/proxy-plugins.ts';
import type { Call } from '../rpc/call.ts';
import type { SandboxController } from '../sandboxes/sandbox-controller.ts';
import type { NewSandbox } from '../sandboxes/sandboxes.ts';
import type { Timeouts } from '../timeouts.ts';
import { GrpcPeer } from './grpc-peer.ts';

const { methods } = wire.ControllerService;

/** Between two attempts to hear of the end of a sandbox whose controller is away: it may be starting anew. */
const retryMs = { first: 100, most: 4000 };

export class ProxySandboxController implements SandboxController {
  readonly name: string;
  readonly isElsewhere = true;
  readonly #peer: GrpcPeer;
  readonly #timeouts: Timeouts;
  /** Its name there. */
  readonly #sandboxer: string;

  constructor({ name, address, farName }: ProxyPlugin, timeouts: Timeouts) {
    this.name = name;
    this.#sandboxer = farName;
    this.#timeouts = timeouts;
    const title = `sandbox controller ${name} at ${address}`;
    this.#peer = new GrpcPeer({ address, title, timeoutMs: timeouts.taskCallMs });
  }

  async create(call: Call, { sandbox, rootfs, options, netnsPath, annotations }: NewSandbox): Promise<void> {
    const request = {
      sandboxId: sandbox.sandboxId,
      sandbox: { ...sandbox, sandboxer: this.#sandboxer },
      rootfs: [...rootfs],
      options,
      netnsPath,
      annotations: { ...annotations },
      sandboxer: this.#sandboxer,
    };
    await this.#ask(call, methods.create, request, this.#timeouts.taskCreateMs);
  }

  async start(call: Call, sandboxId: string): Promise<wire.ControllerStartResponse> {
    return await this.#ask(call, methods.start, this.#of(sandboxId), this.#timeouts.taskStartMs);
  }

  async platform(call: Call, sandboxId: string): Promise<types.Platform | undefined> {
    return (await this.#ask(call, methods.platform, this.#of(sandboxId))).platform;
  }

  async stop(call: Call, sandboxId: string, timeoutSecs: number): Promise<void> {
    const limitMs = this.#timeouts.taskDeleteMs + timeoutSecs * 1000;
    await this.#ask(call, methods.stop, { ...this.#of(sandboxId), timeoutSecs }, limitMs);
  }

  /** A controller that goes away and comes back is asked again, as long as the caller waits. */
  async wait(call: Call, sandboxId: string): Promise<wire.ControllerWaitResponse> {
    for (let pauseMs = retryMs.first; ; pauseMs = Math.min(pauseMs * 2, retryMs.most)) {
      try {
        return await this.#ask(call, methods.wait, this.#of(sandboxId), Infinity);
      } catch (err) {
        if (!isCode(err, 'unavailable')) throw err;
        await sleep(pauseMs, undefined, { signal: call.signal }).catch(() => {
          throw err;
        });
      }
    }
  }

  async status(call: Call, sandboxId: string, verbose: boolean): Promise<wire.ControllerStatusResponse> {
    return await this.#ask(call, methods.status, { ...this.#of(sandboxId), verbose });
  }

  async shutdown(call: Call, sandboxId: string): Promise<void> {
    await this.#ask(call, methods.shutdown, this.#of(sandboxId), this.#timeouts.taskDeleteMs);
  }

  async metrics(call: Call, sandboxId: string): Promise<types.Metric | undefined> {
    return (await this.#ask(call, methods.metrics, this.#of(sandboxId))).metrics;
  }

  async update(call: Call, sandboxId: string, change: types.Sandbox, fields: readonly string[]): Promise<void> {
    const sandbox = { ...change, sandboxer: this.#sandboxer };
    await this.#ask(call, methods.update, { ...this.#of(sandboxId), sandbox, fields: [...fields] });
  }

  close(): void {
    this.#peer.close();
  }

  #of(sandboxId: string): { sandboxId: string; sandboxer: string } {
    return { sandboxId, sandboxer: this.#sandboxer };
  }

  #ask<Req, Res>(
    { namespace, lease, signal }: Call,
    method: MethodType<Req, Res>,
    request: PartialMessage<Req>,
    timeoutMs?: number,
  ): Promise<Res> {
    const limits = timeoutMs === undefined ? {} : { timeoutMs };
    return this.#peer.call(namespace, wire.ControllerService, method, request, { lease, signal, ...limits });
  }
}
