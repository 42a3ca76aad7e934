import t from 'tap';
import { interleave, median, percentile, summarize } from './statistics.ts';

t.test('percentiles lie between the samples they are nearest to', (t) => {
  const sorted = [1, 2, 3, 4];
  t.equal(percentile(sorted, 0), 1);
  t.equal(percentile(sorted, 0.5), 2.5);
  t.equal(percentile(sorted, 1), 4);
  t.equal(percentile([7], 0.99), 7);
  t.equal(
    percentile(
      Array.from({ length: 101 }, (_unused, n) => n),
      0.9,
    ),
    90,
  );
  t.ok(Number.isNaN(percentile([], 0.5)));
  t.end();
});

t.test('samples need not be sorted, and stay as they are', (t) => {
  const samples = [10, 2, 33];
  t.equal(median(samples), 10, 'by number, not by spelling');
  t.same(samples, [10, 2, 33]);
  const { mean, ...rest } = summarize(samples);
  t.same(
    { ...rest, p90: Math.round(rest.p90), p99: Math.round(rest.p99) },
    {
      count: 3,
      min: 2,
      p50: 10,
      p90: 28,
      p99: 33,
      max: 33,
    },
  );
  t.equal(mean, 15);
  t.throws(() => summarize([]), { message: 'no samples to summarize' });
  t.end();
});

t.test('sides take turns, and who is first takes turns too', (t) => {
  t.same(interleave(['a', 'b'], 3), ['a', 'b', 'b', 'a', 'a', 'b']);
  t.same(interleave(['a'], 2), ['a', 'a']);
  t.same(interleave(['a', 'b'], 0), []);
  t.end();
});
