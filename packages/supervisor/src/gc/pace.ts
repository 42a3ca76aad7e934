/** The pace of the garbage collector: what of it can be configured. */

/** How often and how soon it runs; containerd's names and defaults. */
export interface GcConfig {
  /** The largest share of time spent collecting, up to 0.5. */
  readonly pauseThreshold: number;
  /** After so many deletions a run does not wait for the pause to be over; 0: it always does. */
  readonly deletionThreshold: number;
  /** After so many changes of any kind a run is due, since a change can drop a reference; 0: only deletions count. */
  readonly mutationThreshold: number;
  /** From the deletion that makes a run due to the run, at least. */
  readonly scheduleDelayMs: number;
  /** From the start of the daemon to the first run. */
  readonly startupDelayMs: number;
}

/**
 * containerd's pace: its scheduler looks around every (5 ms / 0.02 - 5 ms) = 245 ms when idle, so garbage goes half of
 * that after a deletion on average. Sooner would take what a client of several calls has not labelled yet, later would
 * keep what it expects to be gone.
 */
export const defaultGcConfig: GcConfig = {
  pauseThreshold: 0.02,
  deletionThreshold: 0,
  mutationThreshold: 100,
  scheduleDelayMs: 100,
  startupDelayMs: 100,
};
