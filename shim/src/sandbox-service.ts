/**
 * `containerd.runtime.sandbox.v1.Sandbox`, for a shim that a supervisor starts for a sandbox and not for a container.
 *
 * The sandbox is this process: it holds no namespace and runs nothing of its own, as the sandboxes of containerd's runc shims
 * did. Containers in it have shims of their own; what they share, such as a network namespace, their specs name.
 *
 *   CreateSandbox ─► created ─ StartSandbox ─► ready ─ StopSandbox ─► stopped ─ ShutdownSandbox ─► the process ends
 */
import { sandboxShim, timestampFromNs } from '@gantry/api/shim';
import type { PartialMessage } from '@gantry/api/shim';
import { alreadyExists, failedPrecondition, invalidArgument, notFound, notImplemented } from '@gantry/errors';
import { hostPlatform } from '@gantry/oci';

export interface SandboxServiceParts {
  /** The sandbox this shim was started for. */
  readonly id: string;
  readonly pid: number;
  readonly nowNs: () => bigint;
  /** ShutdownSandbox was asked for. */
  readonly onShutdown: () => void;
}

type State = 'none' | 'created' | 'ready' | 'stopped';

export class SandboxService {
  readonly #parts: SandboxServiceParts;
  readonly #stopped: Promise<void>;
  #stop: () => void = () => undefined;
  #state: State = 'none';
  #info: Readonly<Record<string, string>> = {};
  #createdAtNs = 0n;
  #exitedAtNs: bigint | undefined;

  constructor(parts: SandboxServiceParts) {
    this.#parts = parts;
    this.#stopped = new Promise((resolve) => (this.#stop = resolve));
  }

  createSandbox({ sandboxId, bundlePath, netnsPath }: sandboxShim.CreateSandboxRequest): object {
    const { id, nowNs } = this.#parts;
    if (sandboxId !== id) throw invalidArgument(`sandbox "${sandboxId}": this shim is for another`);
    if (this.#state !== 'none') throw alreadyExists(`sandbox "${id}"`);
    this.#state = 'created';
    this.#createdAtNs = nowNs();
    this.#info = { bundle: bundlePath, ...(netnsPath === '' ? {} : { netns: netnsPath }) };
    return {};
  }

  startSandbox({ sandboxId }: sandboxShim.StartSandboxRequest): PartialMessage<sandboxShim.StartSandboxResponse> {
    this.#check(sandboxId);
    if (this.#state !== 'created') throw failedPrecondition(`sandbox "${sandboxId}" was started already`);
    this.#state = 'ready';
    return { pid: this.#parts.pid, createdAt: timestampFromNs(this.#createdAtNs) };
  }

  platform({ sandboxId }: sandboxShim.PlatformRequest): PartialMessage<sandboxShim.PlatformResponse> {
    this.#check(sandboxId);
    const { os, architecture, variant = '' } = hostPlatform();
    return { platform: { os, architecture, variant } };
  }

  /** Again is as once. There is nothing to wait for, so the timeout plays no part. */
  stopSandbox({ sandboxId }: sandboxShim.StopSandboxRequest): object {
    this.#check(sandboxId);
    this.#exitedAtNs ??= this.#parts.nowNs();
    this.#state = 'stopped';
    this.#stop();
    return {};
  }

  async waitSandbox({
    sandboxId,
  }: sandboxShim.WaitSandboxRequest): Promise<PartialMessage<sandboxShim.WaitSandboxResponse>> {
    this.#check(sandboxId);
    await this.#stopped;
    return { exitStatus: 0, exitedAt: timestampFromNs(this.#exitedAtNs ?? 0n) };
  }

  sandboxStatus({
    sandboxId,
    verbose,
  }: sandboxShim.SandboxStatusRequest): PartialMessage<sandboxShim.SandboxStatusResponse> {
    this.#check(sandboxId);
    return {
      sandboxId,
      pid: this.#state === 'ready' ? this.#parts.pid : 0,
      state: this.#state === 'ready' ? 'SANDBOX_READY' : 'SANDBOX_NOTREADY',
      info: verbose ? { ...this.#info } : {},
      createdAt: timestampFromNs(this.#createdAtNs),
      ...(this.#exitedAtNs === undefined ? {} : { exitedAt: timestampFromNs(this.#exitedAtNs) }),
    };
  }

  pingSandbox({ sandboxId }: sandboxShim.PingRequest): object {
    this.#check(sandboxId);
    return {};
  }

  shutdownSandbox({ sandboxId }: sandboxShim.ShutdownSandboxRequest): object {
    this.#check(sandboxId);
    this.stopSandbox(sandboxShim.StopSandboxRequest.create({ sandboxId }));
    this.#parts.onShutdown();
    return {};
  }

  /** Its containers are counted by their own shims. */
  sandboxMetrics({ sandboxId }: sandboxShim.SandboxMetricsRequest): never {
    this.#check(sandboxId);
    throw notImplemented('metrics of a sandbox');
  }

  #check(sandboxId: string): void {
    if (this.#state === 'none' || sandboxId !== this.#parts.id) throw notFound(`sandbox "${sandboxId}"`);
  }
}
