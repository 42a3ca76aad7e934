import t from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { atOnce } from './workers.ts';

t.test('every job runs once and never more than so many at a time', async (t) => {
  const seen: number[] = [];
  let under = 0;
  let most = 0;
  await atOnce(3, 10, async (index) => {
    under += 1;
    most = Math.max(most, under);
    await sleep(1);
    seen.push(index);
    under -= 1;
  });
  t.same(
    seen.sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
  t.equal(most, 3);
});

t.test('after a failure nothing more is begun, and what is under way is awaited', async (t) => {
  const begun: number[] = [];
  let ended = 0;
  const running = atOnce(2, 10, async (index) => {
    begun.push(index);
    await sleep(index === 0 ? 1 : 10);
    if (index === 0) throw new Error('no more');
    ended += 1;
  });
  await t.rejects(running, { message: 'no more' });
  t.same(begun, [0, 1]);
  t.equal(ended, 1);
});
