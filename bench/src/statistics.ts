/** Percentiles of samples, and a fair order for taking them. */

/** What is kept of a series of samples. */
export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  readonly mean: number;
}

/**
 * The value below which `share` (0 to 1) of the samples lie, interpolated between the two nearest. `sorted` is in
 * ascending order; NaN when it is empty.
 */
export function percentile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** The middle of unsorted samples; NaN when there are none. */
export function median(samples: readonly number[]): number {
  return percentile(ascending(samples), 0.5);
}

/** Throws when there are no samples: a summary of nothing would look like a result. */
export function summarize(samples: readonly number[]): Summary {
  if (samples.length === 0) throw new Error('no samples to summarize');
  const sorted = ascending(samples);
  return {
    count: sorted.length,
    min: sorted[0] ?? Number.NaN,
    p50: percentile(sorted, 0.5),
    p90: percentile(sorted, 0.9),
    p99: percentile(sorted, 0.99),
    max: sorted.at(-1) ?? Number.NaN,
    mean: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
  };
}

/**
 * Who is sampled when: round after round everybody once, and the order turned in every other round (AB BA AB …), so
 * that neither a slow minute of the machine nor what one leaves to be tidied up falls on one side only.
 */
export function interleave<T>(sides: readonly T[], rounds: number): T[] {
  const turned = [...sides].reverse();
  return Array.from({ length: rounds }, (_unused, round) => (round % 2 === 0 ? sides : turned)).flat();
}

function ascending(samples: readonly number[]): number[] {
  return [...samples].sort((a, b) => a - b);
}
