import t from 'tap';
import { ExitLatch } from './exit-latch.ts';

const exit = { pid: 1, exitStatus: 4, exitedAtNs: 1n };

t.test('everybody who waits is told, before and after', async (t) => {
  const latch = new ExitLatch();
  const early = [latch.wait(), latch.wait(new AbortController().signal)];
  latch.settle(exit);
  latch.settle({ ...exit, exitStatus: 5 });
  t.same(await Promise.all([...early, latch.wait()]), [exit, exit, exit]);
});

t.test('a caller that goes away leaves nothing behind', async (t) => {
  const latch = new ExitLatch();
  const caller = new AbortController();
  const waiting = latch.wait(caller.signal);
  t.equal(latch.waiting, 1);
  caller.abort();
  await t.rejects(waiting, { code: 'cancelled' });
  t.equal(latch.waiting, 0);
  await t.rejects(latch.wait(caller.signal), { code: 'cancelled' });
  t.equal(latch.waiting, 0);
});

t.test('waiting has a limit', async (t) => {
  t.equal(await new ExitLatch().waitAtMost(5), undefined);
});

t.test('a process that never ran fails those who wait', async (t) => {
  const latch = new ExitLatch();
  const waiting = latch.wait();
  latch.fail(new Error('deleted'));
  await t.rejects(waiting, /deleted/);
  await t.rejects(latch.wait(), /deleted/);
});
