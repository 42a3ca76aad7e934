import type { WaitResult } from '@gantry/libc';
import t from 'tap';
import { Reaper } from './reaper.ts';
import type { Exit } from './reaper.ts';

/** A kernel in which the test decides who has died. */
function graveyard(): { reaper: Reaper; died: (pid: number, exitStatus?: number) => void; orphans: number[] } {
  const dead: WaitResult[] = [];
  const orphans: number[] = [];
  const reaper = new Reaper({
    sys: {
      wait4: (pid) => {
        t.equal(pid, -1);
        return dead.shift();
      },
    },
    nowNs: () => 7n,
    onOrphan: (exit) => orphans.push(exit.pid),
  });
  return { reaper, orphans, died: (pid, exitStatus = 0) => dead.push({ pid, exitStatus, signal: 0 }) };
}

t.test('an exit goes to whoever claimed the pid, once', async (t) => {
  const { reaper, died, orphans } = graveyard();
  const seen: Exit[] = [];
  const expectation = reaper.expect();
  expectation.claim(10, (exit) => seen.push(exit));
  expectation.end();
  died(10, 3);
  died(11);
  reaper.sweep();
  t.same(seen, [{ pid: 10, exitStatus: 3, exitedAtNs: 7n }]);
  t.same(orphans, [11]);
});

t.test('an exit that is seen before the claim is kept', async (t) => {
  const { reaper, died } = graveyard();
  const expectation = reaper.expect();
  died(10, 5);
  reaper.sweep();
  const exit = await new Promise<Exit>((resolve) => expectation.claim(10, resolve));
  expectation.end();
  t.equal(exit.exitStatus, 5);
});

t.test('an exit from before the expectation is never taken for the new process of the same pid', async (t) => {
  const { reaper, died, orphans } = graveyard();
  died(10, 9);
  reaper.sweep();
  const expectation = reaper.expect();
  const seen: Exit[] = [];
  expectation.claim(10, (exit) => seen.push(exit));
  expectation.end();
  await new Promise((resolve) => setImmediate(resolve));
  t.same(seen, []);
  t.same(orphans, [10]);
  died(10, 0);
  reaper.sweep();
  t.equal(seen.length, 1);
});

t.test('what was kept for nobody is an orphan in the end', async (t) => {
  const { reaper, died, orphans } = graveyard();
  const outer = reaper.expect();
  const inner = reaper.expect();
  died(10);
  reaper.sweep();
  inner.end();
  inner.end();
  t.same(orphans, []);
  outer.end();
  t.same(orphans, [10]);
});

t.test('all are collected before any is delivered', async (t) => {
  const { reaper, died } = graveyard();
  const order: string[] = [];
  const expectation = reaper.expect();
  expectation.claim(1, () => {
    order.push('init');
    reaper.sweep();
  });
  expectation.claim(2, () => order.push('exec'));
  expectation.end();
  died(1);
  died(2);
  reaper.sweep();
  t.same(order, ['init', 'exec']);
});
