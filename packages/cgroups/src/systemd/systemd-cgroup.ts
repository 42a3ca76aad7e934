/**
 * A control group that systemd makes, keeps and removes as a transient unit, and in which everything else is done as in any
 * other group.
 *
 *   create(pid)   StartTransientUnit with the process in it, then what systemd leaves out (controllers, v1 hierarchies)
 *   apply/update  SetUnitProperties, then the files of the group
 *   remove        StopUnit, ResetFailedUnit, then what is left
 */
import { failedPrecondition, isCode } from '@gantry/errors';
import type { LinuxResources } from '@gantry/oci';
import type { Cgroup, CgroupMode, CgroupStats, OomWatch } from '../cgroup.ts';
import type { CgroupCalls } from '../hierarchy.ts';
import { SystemdManager } from './manager.ts';
import type { ManagerKind } from './manager.ts';
import { deviceProperties, flag, resourceProperties, roundedForSystemd, text } from './properties.ts';
import type { Property } from './properties.ts';

/** Among `paths()`: the unit, and whose it is. */
export const unitKey = 'systemd unit';

export interface SystemdUnit {
  readonly kind: ManagerKind;
  readonly unit: string;
  /** Unknown for a unit that is only opened again. */
  readonly slice?: string;
  /** From annotations. */
  readonly properties?: readonly Property[];
}

export class SystemdCgroup implements Cgroup {
  readonly needsProcess = true;
  readonly #sys: CgroupCalls;
  readonly #inner: Cgroup;
  readonly #unit: SystemdUnit;

  /** `inner` is the group where systemd puts the unit. */
  constructor(sys: CgroupCalls, inner: Cgroup, unit: SystemdUnit) {
    this.#sys = sys;
    this.#inner = inner;
    this.#unit = unit;
  }

  get path(): string {
    return this.#inner.path;
  }

  get mode(): CgroupMode {
    return this.#inner.mode;
  }

  #manager<T>(work: (manager: SystemdManager, version: number) => T): T {
    const manager = SystemdManager.connect(this.#sys, this.#unit.kind);
    try {
      return work(manager, manager.version());
    } finally {
      manager.close();
    }
  }

  create(pid?: number): void {
    const { unit, slice = '', properties = [] } = this.#unit;
    if (pid === undefined) throw failedPrecondition(`systemd unit ${unit} cannot be made without a process`);
    const isSlice = unit.endsWith('.slice');
    const io = this.mode === 'unified' ? 'IOAccounting' : 'BlockIOAccounting';
    const accounting = ['MemoryAccounting', 'CPUAccounting', 'TasksAccounting', io].map((name) => flag(name, true));
    const place: readonly Property[] = isSlice
      ? [['Wants', { signature: 'as', value: [slice] }]]
      : [text('Slice', slice), flag('Delegate', true), ['PIDs', { signature: 'au', value: [pid] }]];
    this.#manager((manager) =>
      manager.startTransient(unit, [
        text('Description', `gantry container ${unit.replace(/\.(?:scope|slice)$/, '')}`),
        ...place,
        ...accounting,
        flag('DefaultDependencies', false),
        ...properties,
      ]),
    );
    this.#inner.create(pid);
    // Into the hierarchies that systemd does not keep.
    if (this.mode !== 'unified' || isSlice) this.#inner.addProcess(pid);
  }

  exists(): boolean {
    return this.#inner.exists();
  }

  addProcess(pid: number): void {
    this.#inner.addProcess(pid);
  }

  /** Whoever made the unit has put its first process in; others come by `cloneIntoFd` or by themselves. */
  joinSelf(options?: { readonly unifiedDone?: boolean }): void {
    this.#inner.joinSelf(options);
  }

  birthplace(): undefined {
    return undefined;
  }

  cloneIntoFd(): number | undefined {
    return this.#inner.cloneIntoFd();
  }

  apply(resources: LinuxResources): void {
    this.#setProperties(resources, deviceProperties(resources.devices ?? []));
    this.#inner.apply(roundedForSystemd(resources));
  }

  update(resources: LinuxResources): void {
    this.#setProperties(resources, []);
    this.#inner.update(roundedForSystemd(resources));
  }

  #setProperties(resources: LinuxResources, more: readonly Property[]): void {
    this.#manager((manager, version) => {
      const properties = resourceProperties(resources, { unified: this.mode === 'unified', version });
      manager.setProperties(this.#unit.unit, [...properties, ...more]);
    });
  }

  pids(): number[] {
    return this.#inner.pids();
  }

  freeze(timeoutMs: number): void {
    this.#inner.freeze(timeoutMs);
  }

  thaw(timeoutMs: number): void {
    this.#inner.thaw(timeoutMs);
  }

  isFrozen(): boolean {
    return this.#inner.isFrozen();
  }

  killAll(signal: number): number {
    return this.#inner.killAll(signal);
  }

  stats(): CgroupStats {
    return this.#inner.stats();
  }

  oomKills(): number {
    return this.#inner.oomKills();
  }

  watchOom(seen?: number): OomWatch {
    return this.#inner.watchOom(seen);
  }

  remove(timeoutMs: number): void {
    try {
      this.#manager((manager) => manager.stop(this.#unit.unit));
    } catch (err) {
      // Systemd has gone, and its units with it.
      if (!isCode(err, 'unavailable') && !isCode(err, 'failed precondition')) throw err;
    }
    this.#inner.remove(timeoutMs);
  }

  paths(): Readonly<Record<string, string>> {
    return { ...this.#inner.paths(), [unitKey]: `${this.#unit.kind}:${this.#unit.unit}` };
  }
}
