import t from 'tap';
import { cancelled, notFound, unavailable, unknown } from '@gantry/errors';
import { waitForExit } from './wait.ts';

/** Plays back answers, then the exit. */
function tasksThat(...failures: readonly Error[]): {
  wait: () => Promise<never | { exitStatus: number; exitedAt: undefined }>;
  calls: () => number;
} {
  let calls = 0;
  return {
    calls: () => calls,
    async wait() {
      const failure = failures[calls];
      calls += 1;
      if (failure !== undefined) throw failure;
      return { exitStatus: 3, exitedAt: undefined };
    },
  };
}

t.test('a wait goes on when the supervisor comes back', async (t) => {
  const tasks = tasksThat(unavailable('connection dropped'), unknown('ttrpc: closed'));
  t.same(await waitForExit(tasks, 'web', ''), { exitStatus: 3, exitedAt: undefined });
  t.equal(tasks.calls(), 3);
});

t.test('a wait gives up when the supervisor stays away', async (t) => {
  const tasks = tasksThat(...Array.from({ length: 100 }, () => unavailable('nobody listens')));
  await t.rejects(waitForExit(tasks, 'web', '', { reconnectMs: 300 }), { code: 'unavailable' });
});

t.test("any other failure is the caller's at once", async (t) => {
  for (const failure of [notFound('task "web"'), cancelled('gave up')]) {
    const tasks = tasksThat(failure);
    await t.rejects(waitForExit(tasks, 'web', ''), failure);
    t.equal(tasks.calls(), 1);
  }
});
