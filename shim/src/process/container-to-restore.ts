/**
 * A container that is to be made of a checkpoint: nothing runs before Start, which restores it. Until then it answers as
 * containerd's shim does for such a task; from then on it is the restored one.
 */
import type { Cgroup, CgroupStats, OomWatch } from '@gantry/cgroups';
import { failedPrecondition, notFound, unknown } from '@gantry/errors';
import type { LinuxResources, Spec } from '@gantry/oci';
import type { CheckpointRequest, Container, ExecRequest, ExecutedProcess } from '@gantry/runtime';

export class ContainerToRestore implements Container {
  readonly id: string;
  readonly spec: Spec;
  readonly #restore: () => Container;
  #restored: Container | undefined;

  constructor(id: string, spec: Spec, restore: () => Container) {
    this.id = id;
    this.spec = spec;
    this.#restore = restore;
  }

  /** Restores. After a failure, which leaves nothing, it can be tried again. */
  start(): void {
    this.#restored = this.#restore();
  }

  get isRestored(): boolean {
    return this.#restored !== undefined;
  }

  /** 0 before Start. */
  get pid(): number {
    return this.#restored?.pid ?? 0;
  }
  get startTime(): bigint {
    return this.#restored?.startTime ?? 0n;
  }
  get cgroup(): Cgroup {
    if (this.#restored === undefined) throw notFound(`container ${this.id} has no control group before it is started`);
    return this.#restored.cgroup;
  }
  get console(): number | undefined {
    return this.#restored?.console;
  }
  get hasPrivatePidNamespace(): boolean {
    return this.#restored?.hasPrivatePidNamespace ?? true;
  }

  exec(request: ExecRequest): ExecutedProcess {
    return this.#get('exec in').exec(request);
  }
  kill(signal: number, options?: { readonly all?: boolean }): void {
    if (this.#restored === undefined) throw notFound('no such container');
    this.#restored.kill(signal, options);
  }
  pause(): void {
    this.#get('pause').pause();
  }
  resume(): void {
    this.#get('resume').resume();
  }
  isPaused(): boolean {
    return this.#restored?.isPaused() ?? false;
  }
  pids(): number[] {
    return this.#restored?.pids() ?? [];
  }
  update(resources: LinuxResources): void {
    this.#get('update').update(resources);
  }
  checkpoint(request: CheckpointRequest): void {
    this.#get('checkpoint').checkpoint(request);
  }
  stats(): CgroupStats {
    return this.cgroup.stats();
  }
  watchOom(seen?: number): OomWatch {
    if (this.#restored === undefined) throw failedPrecondition(`container ${this.id} is not started`);
    return this.#restored.watchOom(seen);
  }
  destroy(): void {
    this.#restored?.destroy();
  }

  #get(doing: string): Container {
    if (this.#restored === undefined) throw unknown(`cannot ${doing} task in created state`);
    return this.#restored;
  }
}
