/** Every time limit of the shim, in one place. Milliseconds. */

/** Setting up a container: clone, mounts, hooks. */
export const createTimeoutMs = 60_000;
/** criu saving or restoring a container: as long as its memory and the disk need. */
export const criuTimeoutMs = 3_600_000;
/** Bringing an exec to its execve. */
export const execTimeoutMs = 30_000;
/** How long Delete waits for terminal output that is still on its way. */
export const drainTimeoutMs = 10_000;
/** How long Delete waits for a process that it killed. */
export const killTimeoutMs = 10_000;
/** How long init's exit waits for the exits of killed execs to come first. */
export const execExitsTimeoutMs = 5000;
/** How long a logging program may take to say that it is ready. */
export const programReadyTimeoutMs = 30_000;
/** From the SIGTERM of a logging program to its SIGKILL. */
export const programStopTimeoutMs = 12_000;
/** How long a shim that shuts down offers its last events. */
export const flushTimeoutMs = 3000;
/** How long `start` waits for the daemon's line. */
export const bootstrapTimeoutMs = 20_000;
/** How long a spare shim waits for somebody to connect. */
export const spareTimeoutMs = 10_000;
