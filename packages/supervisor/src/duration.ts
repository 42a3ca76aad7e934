/** Durations as Go writes and reads them: `1h30m`, `245ms`, `-1.5s`, `0`. */

const unitsMs: ReadonlyMap<string, number> = new Map([
  ['ns', 1e-6],
  ['us', 1e-3],
  ['µs', 1e-3],
  ['μs', 1e-3],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** Milliseconds; undefined when the text is none. */
export function parseDurationMs(text: string): number | undefined {
  const [, sign = '', magnitude = ''] = /^([+-]?)(.+)$/.exec(text) ?? [];
  if (magnitude === '0') return 0;
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(magnitude)) return undefined;
  let total = 0;
  for (const [, amount = '', unit = ''] of magnitude.matchAll(/([\d.]+)([^\d.]+)/g)) {
    total += Number(amount) * (unitsMs.get(unit) ?? Number.NaN);
  }
  if (!Number.isFinite(total)) return undefined;
  return sign === '-' ? -total : total;
}

/** A duration that is not negative. */
export function formatDuration(ms: number): string {
  return ms > 0 && ms < 1000 ? `${ms}ms` : `${ms / 1000}s`;
}
