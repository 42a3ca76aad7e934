/** What the driver of races is told and tells (race-driver.ts). */
import type { Spec } from '@gantry/oci';

export interface RacePlan {
  readonly id: string;
  /** Taken by turns. */
  readonly specs: readonly Spec[];
  readonly timeMs: number;
  /** As many containers are tried however long it takes. */
  readonly fewest: number;
}

export interface RaceResult {
  /** How many containers came to be. */
  readonly made: number;
  /** Why others did not, and how many. */
  readonly refused: Readonly<Record<string, number>>;
  /** What the containers printed. */
  readonly output: string;
  /** Mounts and descriptors that should not be there. */
  readonly leaks: readonly string[];
}
