/** Sizes and times as people say them. */

/** Powers of 1000, as docker prints image sizes: `1.03MB`. */
export function decimalSize(bytes: number): string {
  return scaled(bytes, 1000, ['B', 'kB', 'MB', 'GB', 'TB']);
}

/** Powers of 1024, as limits are given: `512MiB`. */
export function binarySize(bytes: number): string {
  return scaled(bytes, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
}

function scaled(bytes: number, step: number, units: readonly string[]): string {
  let value = bytes;
  let unit = 0;
  while (value >= step && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  const digits = unit === 0 ? String(value) : String(Number(value.toPrecision(4)));
  return `${digits}${units[unit] ?? ''}`;
}

const spans: readonly (readonly [seconds: number, name: string])[] = [
  [365 * 86_400, 'year'],
  [30 * 86_400, 'month'],
  [7 * 86_400, 'week'],
  [86_400, 'day'],
  [3600, 'hour'],
  [60, 'minute'],
  [1, 'second'],
];

/** `5 minutes`, `1 hour`, `less than a second`. */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  for (const [span, name] of spans) {
    const count = Math.floor(seconds / span);
    if (count >= 1) return `${count} ${name}${count === 1 ? '' : 's'}`;
  }
  return 'less than a second';
}

export function ago(date: Date | undefined, now = Date.now()): string {
  return date === undefined ? '' : `${duration(Math.max(0, now - date.getTime()))} ago`;
}
