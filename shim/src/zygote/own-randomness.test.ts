import t from 'tap';
import { stream } from './own-randomness.ts';

t.test('numbers are from 0 to below 1, spread evenly, and follow from the seed', (t) => {
  const numbers = Array.from({ length: 20_000 }, stream(Uint32Array.of(1, 2, 3, 4)));
  t.ok(numbers.every((number) => number >= 0 && number < 1));
  for (let tenth = 0; tenth < 10; tenth++) {
    const share = numbers.filter((number) => Math.floor(number * 10) === tenth).length;
    t.ok(Math.abs(share - 2000) < 250, `${share} of 20,000`);
  }
  t.equal(new Set(numbers).size, numbers.length);
  t.same(Array.from({ length: 5 }, stream(Uint32Array.of(1, 2, 3, 4))), numbers.slice(0, 5));
  t.not(stream(Uint32Array.of(1, 2, 3, 5))(), numbers[0]);
  t.end();
});

t.test('a seed of zeros is as good as another', (t) => {
  const numbers = Array.from({ length: 100 }, stream(new Uint32Array(4)));
  t.equal(new Set(numbers).size, 100);
  t.end();
});
