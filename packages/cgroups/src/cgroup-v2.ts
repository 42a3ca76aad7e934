/** A control group on a host that has v2 alone. */
import { failedPrecondition, notFound, wrap } from '@gantry/errors';
import { AT_FDCWD, isErrno, monotonicMs, O_DIRECTORY, O_RDONLY } from '@gantry/libc';
import type { LinuxResources } from '@gantry/oci';
import { writeIoV2 } from './blkio.ts';
import type { Cgroup, CgroupStats, OomWatch } from './cgroup.ts';
import { writeCpuset } from './cpuset.ts';
import { writeCpuV2 } from './cpu.ts';
import { writeDevicesV2 } from './devices-v2.ts';
import { makeGroup, removeGroup } from './directories.ts';
import { frozeInTime, isFrozenV2, setFrozenV2 } from './freezer.ts';
import { readGroupFile, writeGroupFile } from './group-file.ts';
import type { CgroupCalls } from './hierarchy.ts';
import { writeHugetlb } from './hugetlb.ts';
import { groupMembers } from './members.ts';
import { writeMemoryV2 } from './memory.ts';
import { oomKillsV2, watchOomV2 } from './oom.ts';
import { writePids } from './pids.ts';
import { writeRdma } from './rdma.ts';
import { signalGroup } from './signal.ts';
import { statsV2 } from './stats-v2.ts';
import { writeUnified } from './unified.ts';

/** A process that is just being forked answers EINVAL for a moment. */
const enterAttempts = 5;
const enterPauseMs = 10;

const SIGKILL = 9;

export class CgroupV2 implements Cgroup {
  readonly path: string;
  readonly mode = 'unified';
  readonly #sys: CgroupCalls;
  readonly #mount: string;
  readonly #components: readonly string[];
  readonly #directory: string;

  constructor(path: string, sys: CgroupCalls, mount: string, components: readonly string[]) {
    this.path = path;
    this.#sys = sys;
    this.#mount = mount;
    this.#components = components;
    this.#directory = `${mount}/${components.join('/')}`;
  }

  create(member?: number): void {
    const isNew = makeGroup(this.#sys, this.#mount, this.#components);
    this.#enableControllers();
    if (isNew) return;
    if (isFrozenV2(this.#directory, this.#sys)) {
      throw failedPrecondition(`control group ${this.path} is there already and frozen`);
    }
    if (groupMembers(this.#directory, this.#sys).some((pid) => pid !== member)) {
      throw failedPrecondition(`control group ${this.path} is there already and has processes`);
    }
  }

  /** Hands every available controller down from the root to the group's parent. */
  #enableControllers(): void {
    let directory = this.#mount;
    for (const name of ['', ...this.#components.slice(0, -1)]) {
      if (name !== '') directory += `/${name}`;
      const enabled = new Set(words(readGroupFile(directory, 'cgroup.subtree_control', this.#sys)));
      const missing = words(readGroupFile(directory, 'cgroup.controllers', this.#sys)).filter(
        (one) => !enabled.has(one),
      );
      if (missing.length === 0 || this.#enable(directory, missing)) continue;
      // One that cannot be handed down (a group with processes, real-time tasks) must not keep back the others.
      for (const controller of missing) this.#enable(directory, [controller]);
    }
  }

  #enable(directory: string, controllers: readonly string[]): boolean {
    try {
      writeGroupFile(directory, 'cgroup.subtree_control', controllers.map((name) => `+${name}`).join(' '), this.#sys);
      return true;
    } catch (err) {
      if (isErrno(err, 'EBUSY', 'EINVAL', 'ENOENT', 'EOPNOTSUPP', 'ENOTSUP', 'EACCES', 'EPERM')) return false;
      throw wrap(err, `enabling controllers in ${directory}`);
    }
  }

  exists(): boolean {
    return readGroupFile(this.#directory, 'cgroup.controllers', this.#sys) !== undefined;
  }

  addProcess(pid: number): void {
    this.#enter(String(pid));
  }

  joinSelf({ unifiedDone = false }: { readonly unifiedDone?: boolean } = {}): void {
    if (!unifiedDone) this.#enter('0');
  }

  #enter(pid: string): void {
    for (let attempt = 1; ; attempt++) {
      try {
        writeGroupFile(this.#directory, 'cgroup.procs', pid, this.#sys);
        return;
      } catch (err) {
        if (isErrno(err, 'ESRCH')) throw notFound(`process ${pid}`, { pid }, err);
        if (!isErrno(err, 'EINVAL') || attempt === enterAttempts) {
          throw wrap(err, `moving process ${pid} into control group ${this.path}`);
        }
        this.#sys.poll([], enterPauseMs);
      }
    }
  }

  birthplace(): number {
    makeGroup(this.#sys, this.#mount, this.#components);
    return this.cloneIntoFd();
  }

  cloneIntoFd(): number {
    return this.#sys.openat(AT_FDCWD, this.#directory, O_RDONLY | O_DIRECTORY);
  }

  apply(resources: LinuxResources): void {
    this.#write(resources, false);
  }

  update(resources: LinuxResources): void {
    this.#write(resources, true);
  }

  #write(resources: LinuxResources, isUpdate: boolean): void {
    const { pids, memory, blockIO, cpu, hugepageLimits = [], rdma = {}, unified = {} } = resources;
    const directory = this.#directory;
    if (pids !== undefined) writePids(directory, pids, isUpdate, this.#sys);
    if (memory !== undefined) writeMemoryV2(directory, memory, this.#sys);
    if (blockIO !== undefined) writeIoV2(directory, blockIO);
    if (cpu !== undefined) writeCpuV2(directory, cpu, this.#sys);
    if (!isUpdate) writeDevicesV2(this.#sys, directory, resources.devices ?? []);
    if (cpu !== undefined) writeCpuset(directory, cpu);
    writeHugetlb(directory, hugepageLimits, 'max');
    writeRdma(directory, rdma);
    writeUnified(directory, unified);
  }

  pids(): number[] {
    return groupMembers(this.#directory, this.#sys);
  }

  freeze(timeoutMs: number): void {
    setFrozenV2(this.#sys, this.#directory, true, timeoutMs);
  }

  thaw(timeoutMs: number): void {
    setFrozenV2(this.#sys, this.#directory, false, timeoutMs);
  }

  isFrozen(): boolean {
    return isFrozenV2(this.#directory, this.#sys);
  }

  killAll(signal: number): number {
    const members = this.pids();
    if (members.length === 0) return 0;
    if (signal === SIGKILL && this.#killTree()) return members.length;
    const wasFrozen = this.isFrozen();
    const target = {
      members: () => this.pids(),
      hold: () => wasFrozen || frozeInTime(this),
      release: () => {
        if (!wasFrozen) writeGroupFile(this.#directory, 'cgroup.freeze', '0', this.#sys);
      },
    };
    return signalGroup(this.#sys, target, signal);
  }

  /** cgroup.kill, kernel ≥ 5.14; frozen processes die as well. */
  #killTree(): boolean {
    try {
      writeGroupFile(this.#directory, 'cgroup.kill', '1', this.#sys);
      return true;
    } catch (err) {
      if (isErrno(err, 'ENOENT', 'ENODEV', 'EOPNOTSUPP', 'ENOTSUP')) return false;
      throw wrap(err, `killing control group ${this.path}`);
    }
  }

  stats(): CgroupStats {
    return { kind: 'v2', metrics: statsV2(this.#directory) };
  }

  oomKills(): number {
    return oomKillsV2(this.#directory, this.#sys);
  }

  watchOom(seen?: number): OomWatch {
    try {
      return watchOomV2(this.#sys, this.#directory, seen);
    } catch (err) {
      throw wrap(err, `watching control group ${this.path} for lack of memory`);
    }
  }

  remove(timeoutMs: number): void {
    removeGroup(this.#sys, this.#mount, this.#components, monotonicMs() + timeoutMs);
  }

  paths(): Readonly<Record<string, string>> {
    return { '': this.#directory };
  }
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '');
}
