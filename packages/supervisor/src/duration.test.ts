import t from 'tap';
import { formatDuration, parseDurationMs } from './duration.ts';

t.test('durations as Go has them', (t) => {
  const known: Readonly<Record<string, number>> = {
    '0': 0,
    '+0': 0,
    '5s': 5000,
    '1h30m': 5_400_000,
    '1.5h': 5_400_000,
    '.5s': 500,
    '1.s': 1000,
    '245ms': 245,
    '1500us': 1.5,
    '2µs': 0.002,
    '-3m0.5s': -180_500,
  };
  for (const [text, ms] of Object.entries(known)) t.equal(parseDurationMs(text), ms, text);
  for (const text of ['', '-', '5', 's', '1d', '1 s', '1h-2m', '.s', '1..5s', `${'9'.repeat(400)}h`]) {
    t.equal(parseDurationMs(text), undefined, JSON.stringify(text));
  }
  for (const ms of [0, 1, 100, 999, 1000, 90_000, 1.5]) t.equal(parseDurationMs(formatDuration(ms)), ms, String(ms));
  t.end();
});
