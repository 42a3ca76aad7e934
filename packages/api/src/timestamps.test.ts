import t from 'tap';
import {
  nowNs,
  timestampFromDate,
  timestampFromNs,
  timestampFromRfc3339,
  timestampNow,
  timestampToDate,
  timestampToNs,
  timestampToRfc3339,
} from './index.ts';

t.test('nanoseconds are never negative, also before 1970', (t) => {
  t.strictSame(timestampFromNs(-1n), { seconds: -1n, nanos: 999_999_999 });
  for (const ns of [0n, 1n, -1n, 1_700_000_000_123_456_789n, -2_000_000_000n]) {
    t.equal(timestampToNs(timestampFromNs(ns)), ns);
  }
  t.end();
});

t.test('dates keep their milliseconds', (t) => {
  for (const ms of [0, 1, -1, 1_700_000_000_123]) {
    t.equal(timestampToDate(timestampFromDate(new Date(ms))).getTime(), ms);
  }
  t.throws(() => timestampFromDate(new Date(Number.NaN)), { code: 'invalid argument' });
  t.end();
});

t.test('now follows the wall clock, runs forward, and is finer than a millisecond', (t) => {
  const readings = Array.from({ length: 1000 }, () => nowNs());
  t.ok(
    readings.every((ns, at) => at === 0 || ns >= (readings[at - 1] ?? 0n)),
    'forward',
  );
  t.ok(new Set(readings).size > 100, 'finer than a millisecond');
  t.ok(Math.abs(timestampToDate(timestampNow()).getTime() - Date.now()) < 50, 'the wall clock');
  t.end();
});

t.test('RFC 3339 goes both ways', (t) => {
  t.equal(timestampToRfc3339({ seconds: 1n, nanos: 0 }), '1970-01-01T00:00:01Z');
  t.equal(timestampToRfc3339({ seconds: 1n, nanos: 6 }), '1970-01-01T00:00:01.000000006Z');
  t.equal(timestampToRfc3339({ seconds: -1n, nanos: 500_000_000 }), '1969-12-31T23:59:59.5Z');
  for (const text of ['2026-01-02T03:04:05.000000006Z', '2026-01-02T03:04:05Z']) {
    t.equal(timestampToRfc3339(timestampFromRfc3339(text)), text);
  }
  t.strictSame(timestampFromRfc3339('1970-01-01T01:00:00.25+01:00'), { seconds: 0n, nanos: 250_000_000 });
  for (const text of ['', '2026-01-02', '2026-13-02T03:04:05Z', '2026-01-02T03:04:05']) {
    t.throws(() => timestampFromRfc3339(text), { code: 'invalid argument' }, text);
  }
  t.end();
});
