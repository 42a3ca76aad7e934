/** A created container: what its caller holds. The verbs are in files of their own. */
import type { Cgroup, CgroupStats, OomWatch } from '@gantry/cgroups';
import type { Syscalls } from '@gantry/libc';
import type { LinuxResources, Spec } from '@gantry/oci';
import { checkpointContainer } from './checkpoint.ts';
import type { ContainerParts } from './container-parts.ts';
import type { Container, ExecRequest, ExecutedProcess } from './container.ts';
import type { CheckpointRequest } from './criu/options.ts';
import { destroyContainer } from './delete.ts';
import { execInContainer } from './exec.ts';
import { killContainer } from './kill.ts';
import { pauseContainer, resumeContainer } from './pause.ts';
import { startContainer } from './start.ts';

export class LinuxContainer implements Container {
  readonly #sys: Syscalls;
  readonly #parts: ContainerParts;
  #destroyed = false;

  constructor(sys: Syscalls, parts: ContainerParts) {
    this.#sys = sys;
    this.#parts = parts;
  }

  get id(): string {
    return this.#parts.id;
  }
  get pid(): number {
    return this.#parts.child.pid;
  }
  get startTime(): bigint {
    return this.#parts.child.startTime;
  }
  get cgroup(): Cgroup {
    return this.#parts.cgroup;
  }
  get spec(): Spec {
    return this.#parts.spec;
  }
  get console(): number | undefined {
    return this.#parts.console;
  }
  get hasPrivatePidNamespace(): boolean {
    return this.#parts.hasPrivatePidNamespace;
  }

  start(): void {
    startContainer(this.#sys, this.#parts);
  }
  exec(request: ExecRequest): ExecutedProcess {
    return execInContainer(this.#sys, this.#parts, request);
  }
  kill(signal: number, options: { readonly all?: boolean } = {}): void {
    killContainer(this.#sys, this.#parts, signal, options.all ?? false);
  }
  pause(): void {
    pauseContainer(this.#parts);
  }
  resume(): void {
    resumeContainer(this.#parts);
  }
  isPaused(): boolean {
    return this.cgroup.isFrozen();
  }
  pids(): number[] {
    return this.cgroup.pids();
  }
  update(resources: LinuxResources): void {
    this.cgroup.update(resources);
  }
  stats(): CgroupStats {
    return this.cgroup.stats();
  }
  checkpoint(request: CheckpointRequest): void {
    checkpointContainer(this.#sys, this.#parts, request);
  }
  watchOom(seen?: number): OomWatch {
    return this.cgroup.watchOom(seen);
  }
  destroy(): void {
    if (this.#destroyed) return;
    destroyContainer(this.#sys, this.#parts);
    this.#destroyed = true;
  }
}
