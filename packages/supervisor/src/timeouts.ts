/** Every deadline of the supervisor in one place, in milliseconds; the names are those of containerd's `[timeouts]`. */

export interface Timeouts {
  /** A shim to start and listen. */
  readonly shimStartMs: number;
  /** One shim to answer when the supervisor starts (`io.containerd.timeout.shim.load` is 5 s there). */
  readonly shimLoadMs: number;
  /** Calls about tasks wait so long, when the supervisor starts, for a shim that has not answered yet; a little longer for many. */
  readonly firstLookMs: number;
  /** Cleaning up after a shim; its own, never the caller's (`shim.cleanup`). */
  readonly shimCleanupMs: number;
  /** `shim.shutdown`. */
  readonly shimShutdownMs: number;
  /** The state of a task (`task.state`). */
  readonly taskStateMs: number;
  /** The runtime to create a container. */
  readonly taskCreateMs: number;
  /** A process to be started, hooks included. */
  readonly taskStartMs: number;
  /** A task to be saved, or to be restored when it is started: as long as its memory and the disk need. */
  readonly taskCheckpointMs: number;
  /** A shim to delete its task or a process of it. */
  readonly taskDeleteMs: number;
  /** Whatever else a shim is asked to do with its task. */
  readonly taskCallMs: number;
  /** The counters of one task (`metrics.shimstats`). */
  readonly shimStatsMs: number;
  /** Calls under way when the supervisor is told to stop. */
  readonly drainMs: number;
}

export const defaultTimeouts: Timeouts = {
  // A slow machine with much to do needs tens of seconds for a start of Node.
  shimStartMs: 60_000,
  shimLoadMs: 2000,
  firstLookMs: 500,
  shimCleanupMs: 10_000,
  shimShutdownMs: 3000,
  taskStateMs: 2000,
  taskCreateMs: 120_000,
  taskStartMs: 120_000,
  taskCheckpointMs: 3_600_000,
  taskDeleteMs: 30_000,
  taskCallMs: 10_000,
  shimStatsMs: 2000,
  drainMs: 3000,
};
