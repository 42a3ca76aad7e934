/** What a run has measured: named series with samples of each side. */
import { summarize } from './statistics.ts';
import type { Summary } from './statistics.ts';

/** The two sides of a comparison. */
export const sideNames = ['gantry', 'peer'] as const;
export type SideName = (typeof sideNames)[number];

/** What a series counts, and which way is good. */
export interface SeriesInfo {
  /** A path of words, the scenario first: `lifecycle/1/total`. */
  readonly key: string;
  /** For people: `whole lifecycle, one at a time`. */
  readonly title: string;
  readonly unit: Unit;
  /** Default `less`. */
  readonly better?: 'less' | 'more';
  /** Only in the JSON and with `--all`: there would be too much to see. */
  readonly detail?: boolean;
}

export type Unit = 'ms' | 'µs' | '/s' | 'MB' | 'MiB/s' | 'ms/s' | '×' | 'threads' | 'processes';

/** One series with what became of its samples. */
export interface SeriesResult {
  readonly key: string;
  readonly scenario: string;
  readonly title: string;
  readonly unit: Unit;
  readonly better: 'less' | 'more';
  readonly detail: boolean;
  readonly sides: Readonly<Partial<Record<SideName, Summary>>>;
  /** The median of gantry divided by the median of the peer; undefined when one of them was not measured. */
  readonly ratio: number | undefined;
}

/** Collects samples while scenarios run. Series come out in the order in which they were first seen. */
export class Results {
  readonly #series = new Map<string, { info: SeriesInfo; samples: Map<SideName, number[]> }>();

  add(info: SeriesInfo, side: SideName, ...values: readonly number[]): void {
    let series = this.#series.get(info.key);
    if (series === undefined) {
      series = { info, samples: new Map() };
      this.#series.set(info.key, series);
    }
    const samples = series.samples.get(side);
    if (samples === undefined) series.samples.set(side, [...values]);
    else for (const value of values) samples.push(value);
  }

  /** The samples of one side so far. */
  samples(key: string, side: SideName): readonly number[] {
    return this.#series.get(key)?.samples.get(side) ?? [];
  }

  summaries(): SeriesResult[] {
    return [...this.#series.values()].map(({ info, samples }) => {
      const sides: Partial<Record<SideName, Summary>> = {};
      for (const [side, values] of samples) if (values.length > 0) sides[side] = summarize(values);
      return {
        key: info.key,
        scenario: info.key.split('/')[0] ?? '',
        title: info.title,
        unit: info.unit,
        better: info.better ?? 'less',
        detail: info.detail ?? false,
        sides,
        ratio: ratioOf(sides.gantry, sides.peer),
      };
    });
  }
}

function ratioOf(ours: Summary | undefined, theirs: Summary | undefined): number | undefined {
  if (ours === undefined || theirs === undefined || theirs.p50 === 0) return undefined;
  return ours.p50 / theirs.p50;
}
