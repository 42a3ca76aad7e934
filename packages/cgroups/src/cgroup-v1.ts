/**
 * A control group on v1 controllers. On a hybrid host the group is also made in the v2 tree, which has no controllers
 * then and serves for tracking: `cgroup.kill` reaches every process there at once.
 */
import { failedPrecondition, invalidArgument, notFound, wrap } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import { AT_FDCWD, isErrno, monotonicMs, O_DIRECTORY, O_RDONLY } from '@gantry/libc';
import type { LinuxResources } from '@gantry/oci';
import { writeBlkioV1 } from './blkio.ts';
import type { Cgroup, CgroupMode, CgroupStats, OomWatch } from './cgroup.ts';
import { inheritCpuset, writeCpuset } from './cpuset.ts';
import { writeCpuV1 } from './cpu.ts';
import { writeDevicesV1 } from './devices-v1.ts';
import { makeGroup, removeGroup } from './directories.ts';
import { freezeV1, frozeInTime, isFrozenV1, thawV1 } from './freezer.ts';
import { readGroupFile, writeGroupFile } from './group-file.ts';
import type { CgroupCalls } from './hierarchy.ts';
import { writeHugetlb } from './hugetlb.ts';
import { groupMembers } from './members.ts';
import { writeMemoryV1 } from './memory.ts';
import { writeNetClass, writeNetPriorities } from './network.ts';
import { noOomWatch, oomKillsV1, watchOomV1 } from './oom.ts';
import { writePids } from './pids.ts';
import { writeRdma } from './rdma.ts';
import { signalGroup } from './signal.ts';
import { statsV1 } from './stats-v1.ts';

/** The group in one hierarchy. */
export interface GroupPlace {
  /** Mount point of the hierarchy. */
  readonly mount: string;
  readonly components: readonly string[];
}

/** The place's absolute directory. */
export function placeDirectory({ mount, components }: GroupPlace): string {
  return `${mount}/${components.join('/')}`;
}

/** Controllers by which the members are listed: every one has them all, the first that is mounted serves. */
const memberControllers = ['pids', 'devices', 'freezer', 'cpu', 'cpuacct', 'memory', 'blkio', 'cpuset'] as const;

const SIGKILL = 9;

export class CgroupV1 implements Cgroup {
  readonly path: string;
  readonly mode: CgroupMode;
  readonly #sys: CgroupCalls;
  /** Controller → directory. */
  readonly #directories: ReadonlyMap<string, string>;
  readonly #unified: GroupPlace | undefined;
  /** Every directory once, controllers that are mounted together and the v2 tree included. */
  readonly #byDirectory: ReadonlyMap<string, GroupPlace>;

  /** `places` has one entry a controller, `unified` is the v2 tree of a hybrid host. */
  constructor(
    path: string,
    sys: CgroupCalls,
    places: ReadonlyMap<string, GroupPlace>,
    unified: GroupPlace | undefined,
  ) {
    this.path = path;
    this.mode = unified === undefined ? 'legacy' : 'hybrid';
    this.#sys = sys;
    this.#directories = new Map([...places].map(([name, place]) => [name, placeDirectory(place)]));
    this.#unified = unified;
    const all = [...places.values(), ...(unified === undefined ? [] : [unified])];
    this.#byDirectory = new Map(all.map((place) => [placeDirectory(place), place]));
  }

  create(): void {
    const cpuset = this.#directories.get('cpuset');
    const freezer = this.#directories.get('freezer');
    const prepareCpuset = (directory: string): void => inheritCpuset(directory, true, this.#sys);
    for (const [directory, place] of this.#byDirectory) {
      const prepare = directory === cpuset ? prepareCpuset : undefined;
      const isNew = makeGroup(this.#sys, place.mount, place.components, prepare);
      if (isNew) continue;
      if (directory === cpuset) inheritCpuset(directory, false, this.#sys);
      if (directory === freezer && isFrozenV1(directory, this.#sys)) {
        throw failedPrecondition(`control group ${this.path} is there already and frozen`);
      }
    }
  }

  exists(): boolean {
    const directory = this.#memberDirectory();
    return readGroupFile(directory, 'cgroup.procs', this.#sys) !== undefined;
  }

  addProcess(pid: number): void {
    for (const directory of this.#byDirectory.keys()) this.#enter(directory, 'cgroup.procs', String(pid));
  }

  joinSelf({ unifiedDone = false }: { readonly unifiedDone?: boolean } = {}): void {
    // A thread that moves itself alone needs no host-wide lock; with one thread that is the whole process.
    const unified = this.#unified && placeDirectory(this.#unified);
    for (const directory of this.#byDirectory.keys()) if (directory !== unified) this.#enter(directory, 'tasks', '0');
    if (unified !== undefined && !unifiedDone) this.#enter(unified, 'cgroup.procs', '0');
  }

  birthplace(): number | undefined {
    if (this.#unified !== undefined) makeGroup(this.#sys, this.#unified.mount, this.#unified.components);
    return this.cloneIntoFd();
  }

  cloneIntoFd(): number | undefined {
    if (this.#unified === undefined) return undefined;
    return this.#sys.openat(AT_FDCWD, placeDirectory(this.#unified), O_RDONLY | O_DIRECTORY);
  }

  apply(resources: LinuxResources): void {
    this.#write(resources, false);
    const devices = this.#directories.get('devices');
    if (devices !== undefined) writeDevicesV1(devices, resources.devices ?? [], this.#sys);
    else if (resources.devices?.some(({ allow }) => !allow) === true) throw noController('devices', 'devices');
  }

  update(resources: LinuxResources): void {
    this.#write(resources, true);
  }

  #write(resources: LinuxResources, isUpdate: boolean): void {
    const { cpu, memory, pids, blockIO, hugepageLimits = [], network, rdma = {}, unified = {} } = resources;
    if (Object.keys(unified).length > 0) {
      throw invalidArgument('linux.resources.unified: this host has cgroup v1');
    }
    if ((cpu?.cpus ?? '') !== '' || (cpu?.mems ?? '') !== '')
      writeCpuset(this.#controller('cpuset', 'cpu.cpus'), cpu ?? {});
    if (memory !== undefined && hasValues(memory))
      writeMemoryV1(this.#controller('memory', 'memory'), memory, this.#sys);
    if (cpu !== undefined && hasValues(cpu)) writeCpuV1(this.#controller('cpu', 'cpu'), cpu, this.#sys);
    if (pids !== undefined && hasValues(pids)) writePids(this.#controller('pids', 'pids'), pids, isUpdate, this.#sys);
    if (blockIO !== undefined && hasValues(blockIO)) writeBlkioV1(this.#controller('blkio', 'blockIO'), blockIO);
    if (hugepageLimits.length > 0) {
      writeHugetlb(this.#controller('hugetlb', 'hugepageLimits'), hugepageLimits, 'limit_in_bytes');
    }
    if ((network?.classID ?? 0) !== 0) {
      writeNetClass(this.#controller('net_cls', 'network.classID'), network?.classID ?? 0);
    }
    const priorities = network?.priorities ?? [];
    if (priorities.length > 0) writeNetPriorities(this.#controller('net_prio', 'network.priorities'), priorities);
    if (Object.keys(rdma).length > 0) writeRdma(this.#controller('rdma', 'rdma'), rdma);
  }

  pids(): number[] {
    return groupMembers(this.#memberDirectory(), this.#sys);
  }

  freeze(timeoutMs: number): void {
    freezeV1(this.#sys, this.#controller('freezer', undefined), timeoutMs);
  }

  thaw(): void {
    thawV1(this.#controller('freezer', undefined));
  }

  isFrozen(): boolean {
    const directory = this.#directories.get('freezer');
    return directory !== undefined && isFrozenV1(directory, this.#sys);
  }

  killAll(signal: number): number {
    const wasFrozen = this.isFrozen();
    if (signal === SIGKILL) {
      const reached = this.#killThroughUnified();
      if (reached !== undefined) {
        // A frozen process dies when it runs again.
        if (wasFrozen) this.thaw();
        return reached;
      }
    }
    const target = {
      members: () => this.pids(),
      hold: () => wasFrozen || frozeInTime(this),
      release: () => {
        if (!wasFrozen || signal === SIGKILL) this.thaw();
      },
    };
    return signalGroup(this.#sys, target, signal);
  }

  /** Kills by the v2 tree when every member is in it; undefined when that is not possible. */
  #killThroughUnified(): number | undefined {
    if (this.#unified === undefined) return undefined;
    const directory = placeDirectory(this.#unified);
    const tracked = new Set(groupMembers(directory, this.#sys));
    try {
      writeGroupFile(directory, 'cgroup.kill', '1', this.#sys);
    } catch (err) {
      // Before kernel 5.14, or the group is gone there.
      if (isErrno(err, 'ENOENT', 'ENODEV')) return undefined;
      throw wrap(err, `killing control group ${this.path}`);
    }
    // Whoever forked since is tracked as its parent is.
    const strays = this.pids().filter((pid) => !tracked.has(pid));
    const inTree = strays.length === 0 ? undefined : new Set(groupMembers(directory, this.#sys));
    return strays.every((pid) => inTree?.has(pid) === true) ? tracked.size : undefined;
  }

  stats(): CgroupStats {
    return { kind: 'v1', metrics: statsV1(this.#directories) };
  }

  oomKills(): number {
    const directory = this.#directories.get('memory');
    return directory === undefined ? 0 : oomKillsV1(directory, this.#sys);
  }

  watchOom(seen?: number): OomWatch {
    const directory = this.#directories.get('memory');
    if (directory === undefined) return noOomWatch;
    try {
      return watchOomV1(this.#sys, directory, seen);
    } catch (err) {
      throw wrap(err, `watching control group ${this.path} for lack of memory`);
    }
  }

  remove(timeoutMs: number): void {
    const deadline = monotonicMs() + timeoutMs;
    const failures: unknown[] = [];
    for (const { mount, components } of this.#byDirectory.values()) {
      try {
        removeGroup(this.#sys, mount, components, deadline);
      } catch (err) {
        failures.push(err);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  paths(): Readonly<Record<string, string>> {
    const unified = this.#unified === undefined ? {} : { '': placeDirectory(this.#unified) };
    return { ...Object.fromEntries(this.#directories), ...unified };
  }

  /** The directory of a controller that `field` of the resources (undefined: freezing) needs. */
  #controller(name: string, field: string | undefined): string {
    const directory = this.#directories.get(name);
    if (directory === undefined) throw noController(name, field);
    return directory;
  }

  #memberDirectory(): string {
    for (const name of memberControllers) {
      const directory = this.#directories.get(name);
      if (directory !== undefined) return directory;
    }
    const [first = ''] = this.#directories.values();
    return first;
  }

  #enter(directory: string, file: string, pid: string): void {
    try {
      writeGroupFile(directory, file, pid, this.#sys);
    } catch (err) {
      if (isErrno(err, 'ESRCH')) throw notFound(`process ${pid}`, { pid }, err);
      throw wrap(err, `moving process ${pid} into control group ${directory}`);
    }
  }
}

function hasValues(part: object): boolean {
  return Object.values(part).some((value) => value !== undefined);
}

function noController(name: string, field: string | undefined): GantryError {
  const what = field === undefined ? '' : `linux.resources.${field}: `;
  return failedPrecondition(`${what}this host has no ${name} controller`);
}
