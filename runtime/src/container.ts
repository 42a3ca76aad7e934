/**
 * The seam between the runtime and its caller (the shim, the command line): what is asked, what is handed back.
 *
 * Everything is synchronous and happens in the caller's process; the caller must be single-threaded Node
 * (`node --single-threaded`) with nothing in libuv's thread pool, because containers are made by clone(2) of it.
 *
 *   createContainer ──► created ──start()──► running ◄──resume()── paused
 *         │ throws: nothing is left    │            └────pause()────►
 *         ▼                            └─ init ends (the caller reaps it) ──► destroy()
 */
import type { Cgroup, CgroupStats, OomWatch } from '@gantry/cgroups';
import type { LinuxResources, Process, Spec } from '@gantry/oci';
import type { CheckpointRequest } from './criu/options.ts';

/** A mount of a snapshot, as a snapshotter words it. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  /** Sub directory of the rootfs that it goes to; empty or absent: the rootfs itself. */
  readonly target?: string;
  readonly options: readonly string[];
}

/** Descriptors for a process's 0, 1 and 2; -1 is /dev/null. They stay the caller's. */
export interface Stdio {
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

export interface CreateRequest {
  readonly id: string;
  /** Absolute path of the bundle; init.pid and state.json are written there. */
  readonly bundle: string;
  /** Where init.pid and state.json go instead; it belongs to this container alone. */
  readonly stateDir?: string;
  readonly spec: Spec;
  /** Assembled inside the container's mount namespace; empty: `spec.root.path`, relative to the bundle. */
  readonly rootfs: readonly RootfsMount[];
  /** Ignored when `spec.process.terminal` is set. */
  readonly stdio: Stdio;
  /** chroot instead of pivot_root, for hosts whose root is a ramfs. */
  readonly noPivot?: boolean;
  /** Do without a control group where none can be made. */
  readonly rootless?: boolean;
  /** The group is a systemd unit's, and `cgroupsPath` is `slice:prefix:name`; with `rootless` the user's own manager makes it. */
  readonly systemdCgroup?: boolean;
  /** Stay in the caller's session keyring. */
  readonly noNewKeyring?: boolean;
  /** As many of the caller's descriptors from 3 on stay open in the container, under their numbers. */
  readonly preservedFds?: number;
  /**
   * A listening SOCK_SEQPACKET socket on which init waits to be started, so that it outlives the caller: see
   * init/start-gate.ts. Absent: only `start` of the returned container can start it. It stays the caller's.
   */
  readonly startListener?: number;
  /** Bounds every wait of the call, clean-up excluded. */
  readonly timeoutMs: number;
}

export interface ExecRequest {
  readonly process: Process;
  /** Ignored when `process.terminal` is set. */
  readonly stdio: Stdio;
  /** See `CreateRequest`. */
  readonly preservedFds?: number;
  /** A container that is paused takes the process and freezes it as soon as it has joined. */
  readonly ignorePaused?: boolean;
  /** A group below the container's that is there already, joined instead of it. */
  readonly cgroup?: Cgroup;
  readonly timeoutMs: number;
}

/** A process that runs in the container. The caller reaps it. */
export interface ExecutedProcess {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTime: bigint;
  /** Pty master when the process has a terminal; the caller's. */
  readonly console: number | undefined;
}

/** A container whose init exists. Methods throw GantryErrors. */
export interface Container {
  readonly id: string;
  readonly pid: number;
  readonly startTime: bigint;
  readonly cgroup: Cgroup;
  readonly spec: Spec;
  /** Pty master when `spec.process.terminal`; the caller's. */
  readonly console: number | undefined;
  /** False when the pid namespace is the host's or was joined: then init's end does not end the others. */
  readonly hasPrivatePidNamespace: boolean;

  /** Releases init. Throws when the program could not be executed; init is dead then and the caller reaps it. */
  start(): void;
  /** Runs one more process; returns when it has been executed. Failed precondition when paused or gone. */
  exec(request: ExecRequest): ExecutedProcess;
  /**
   * Signals init, or every process with `all`. Not found when init is gone. SIGKILL reaches every process when the
   * container has no pid namespace of its own, and thaws a paused one.
   */
  kill(signal: number, options?: { readonly all?: boolean }): void;
  /** Freezes every process. */
  pause(): void;
  resume(): void;
  isPaused(): boolean;
  /** Every process in the container's control group, in the caller's pid namespace. */
  pids(): number[];
  /** Changes limits; absent fields stay, device rules are not touched. */
  update(resources: LinuxResources): void;
  stats(): CgroupStats;
  /**
   * Saves the container by criu; its processes are killed then unless they are to run on, and the caller reaps init.
   * After a failure, which names criu's reasons, the container is as it was.
   */
  checkpoint(request: CheckpointRequest): void;
  /** Notice of kills for lack of memory beyond the first `seen`; by default those from now on. */
  watchOom(seen?: number): OomWatch;
  /** After init was reaped: ends what is left in the control group and removes it. Can be repeated. */
  destroy(): void;
}
