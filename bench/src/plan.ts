/** How much of everything a run does. */

export interface Plan {
  /** Samples of one lifecycle, exec or start at a time, each side. */
  readonly samples: number;
  /** Rest between two samples one at a time, so that what one leaves to be tidied up is not in the next one's time. */
  readonly settleMs: number;
  /** Batches of each side at each concurrency. */
  readonly batches: number;
  /** Containers of a batch, for each of those at once; never fewer than `batchMinimum`. */
  readonly batchPerWorker: number;
  readonly batchMinimum: number;
  /** How many containers run, step by step, in `density`; the last step is the one the figures are of. */
  readonly density: readonly number[];
  readonly densityStarts: number;
  readonly idleMs: number;
  readonly restartContainers: number;
  readonly restarts: number;
  /** Records in `rpc`. */
  readonly records: number;
  /** Events that one publisher sends, a slice. */
  readonly events: number;
  readonly rateSlices: number;
  readonly rateSliceMs: number;
  readonly stdoutRounds: number;
  readonly stdoutMiB: number;
  /** Size of the image in `images`, uncompressed; a multiple of five. */
  readonly imageMiB: number;
  readonly imageRounds: number;
  readonly blobMiB: number;
}

/** About five minutes on two processors. */
export const fullPlan: Plan = {
  samples: 100,
  settleMs: 20,
  batches: 5,
  batchPerWorker: 3,
  batchMinimum: 64,
  density: [50, 200, 500],
  densityStarts: 25,
  idleMs: 5_000,
  restartContainers: 100,
  restarts: 7,
  records: 1_000,
  events: 2_000,
  rateSlices: 6,
  rateSliceMs: 500,
  stdoutRounds: 7,
  stdoutMiB: 1_024,
  imageMiB: 500,
  imageRounds: 4,
  blobMiB: 256,
};

/** Under a minute: shows that everything works and where the figures lie, no more. */
export const quickPlan: Plan = {
  samples: 15,
  settleMs: 5,
  batches: 2,
  batchPerWorker: 1,
  batchMinimum: 16,
  density: [10, 30],
  densityStarts: 5,
  idleMs: 1_000,
  restartContainers: 20,
  restarts: 2,
  records: 100,
  events: 200,
  rateSlices: 2,
  rateSliceMs: 150,
  stdoutRounds: 2,
  stdoutMiB: 256,
  imageMiB: 50,
  imageRounds: 1,
  blobMiB: 32,
};

/** The plan with another number of samples; what is counted in rounds or heads shrinks with it, and never grows. */
export function withSamples(plan: Plan, samples: number): Plan {
  return {
    ...plan,
    samples,
    densityStarts: Math.min(plan.densityStarts, samples),
    batches: Math.min(plan.batches, samples),
    restarts: Math.min(plan.restarts, samples),
    restartContainers: Math.min(plan.restartContainers, samples * 5),
    records: Math.min(plan.records, samples * 25),
    events: Math.min(plan.events, samples * 100),
    stdoutMiB: Math.min(plan.stdoutMiB, samples * 32),
    rateSlices: Math.min(plan.rateSlices, samples),
    stdoutRounds: Math.min(plan.stdoutRounds, samples),
    imageMiB: Math.min(plan.imageMiB, samples * 25),
    imageRounds: Math.min(plan.imageRounds, samples),
    blobMiB: Math.min(plan.blobMiB, samples * 16),
  };
}
