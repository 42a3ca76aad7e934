/**
 * A container's control group, whatever the version of the kernel interface: the seam between this room and the
 * runtime. `CgroupV1` (also for hybrid hosts) and `CgroupV2` implement it.
 *
 * Life: open (nothing is touched) → create → addProcess / apply / update / freeze / stats … → remove.
 * Everything is synchronous. Waiting (freezing, removing) is bounded by the caller's time and done by short sleeps.
 * Errors are GantryErrors that name the field of the resources or the file of the group.
 */
import type { LinuxResources } from '@gantry/oci';
import type { MetricsV1 } from './metrics-v1.ts';
import type { MetricsV2 } from './metrics-v2.ts';

/** unified: v2 alone; legacy: v1 alone; hybrid: v1 controllers and an additional v2 tree without controllers. */
export type CgroupMode = 'unified' | 'hybrid' | 'legacy';

export type CgroupStats =
  | { readonly kind: 'v1'; readonly metrics: MetricsV1 }
  | { readonly kind: 'v2'; readonly metrics: MetricsV2 };

/** Tells of processes that the kernel killed for lack of memory. Owned by whoever asked for it; close it once. */
export interface OomWatch {
  /** Becomes readable when something may have happened; -1 when the host has no memory controller. */
  readonly fd: number;
  /** Drains the descriptor and returns the number of kills since the last call (or since the watch began). */
  read(): number;
  close(): void;
}

export interface Cgroup {
  /** The path as it was asked for, absolute for absolute requests. */
  readonly path: string;
  readonly mode: CgroupMode;
  /** True when `create` needs the first process (a systemd scope is never empty), so that nothing can be born in it. */
  readonly needsProcess?: boolean;

  /**
   * Makes the group (and missing ancestors) in every hierarchy. A group that is already there is taken over; failed
   * precondition when that one is frozen or (v2) has processes other than `member`. A failure leaves what was made for
   * `remove`. `member` is moved into the group where that needs a process.
   */
  create(member?: number): void;
  /** True while the group is there (in the hierarchy that counts: any controller of v1, the v2 directory). */
  exists(): boolean;
  /**
   * Moves a process (all its threads) into the group. Throws not found when the process is gone.
   * The kernel may take 5 to 10 ms for the first such move after a pause; `joinSelf` does not wait.
   */
  addProcess(pid: number): void;
  /**
   * Moves the calling process, which must have one thread only, into the group. `unifiedDone` says that it is in the
   * v2 directory already, because it was cloned into `cloneIntoFd`.
   */
  joinSelf(options?: { readonly unifiedDone?: boolean }): void;
  /** As `cloneIntoFd`, before `create`: makes that directory when it is missing, and no more of the group. */
  birthplace(): number | undefined;
  /** A descriptor of the v2 directory for clone3(2) with CLONE_INTO_CGROUP, the caller's; undefined without a v2 tree. */
  cloneIntoFd(): number | undefined;
  /**
   * Writes every limit that `resources` names, and the device rules: everything is denied but what the rules and the
   * default devices (null, zero, full, random, urandom, tty, ptmx, pts, tun; making nodes) allow. Called once, before the container runs.
   */
  apply(resources: LinuxResources): void;
  /** Changes the limits that `resources` names; absent and 0 mean unchanged, device rules are not touched. */
  update(resources: LinuxResources): void;
  /** The processes of the group and of the groups below it; empty when the group is gone. */
  pids(): number[];
  /** Stops every process in the group; returns when the kernel says so. Throws deadline exceeded (and thaws again). */
  freeze(timeoutMs: number): void;
  /** Lets them run again. A group that is not frozen stays as it is. */
  thaw(timeoutMs: number): void;
  isFrozen(): boolean;
  /** Sends a signal to every process of the group, leaving none out that forks meanwhile. Returns how many it reached. */
  killAll(signal: number): number;
  stats(): CgroupStats;
  /** Processes that the kernel has killed in this group for lack of memory since the group was made. */
  oomKills(): number;
  /** Notice of such kills beyond the first `seen`; by default those from now on. */
  watchOom(seen?: number): OomWatch;
  /** Removes the group, the groups below it and the empty ancestors that `create` made. Gone already is success. */
  remove(timeoutMs: number): void;
  /** Controller name (`''` for the v2 tree) → absolute directory; `cgroupFromPaths` opens the same group again. */
  paths(): Readonly<Record<string, string>>;
}
