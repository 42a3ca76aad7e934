/** The rows that the terminal's table and the Markdown one share. */
import type { SeriesResult, SideName } from '../results.ts';
import type { Summary } from '../statistics.ts';
import { describeTarget, verdictOf } from '../targets.ts';

/** Three significant digits, and never an exponent. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 || size === 0 ? 2 : 3);
}

/** A figure of one sample stands alone; of more there are three: p50, p90, p99. */
function figures(summary: Summary | undefined): string[] {
  if (summary === undefined) return ['', '', ''];
  if (summary.count === 1) return [formatNumber(summary.p50), '', ''];
  return [summary.p50, summary.p90, summary.p99].map(formatNumber);
}

export const headings = (titles: Readonly<Record<SideName, string>>, present: readonly SideName[]): string[] => [
  'measured',
  'unit',
  ...present.flatMap((side) => [`${titles[side]} p50`, 'p90', 'p99']),
  ...(present.length > 1 ? ['ratio', 'target', ''] : []),
];

/** One row of cells a series, beneath each scenario's name. */
export function rowsOf(series: readonly SeriesResult[], present: readonly SideName[], all: boolean): string[][] {
  return series
    .filter(({ detail }) => all || !detail)
    .map((one) => [
      one.title,
      one.unit,
      ...present.flatMap((side) => figures(one.sides[side])),
      ...(present.length > 1
        ? [one.ratio === undefined ? '' : `${formatNumber(one.ratio)} ×`, describeTarget(one), verdictOf(one) ?? '']
        : []),
    ]);
}
