/** A shim is killed while a create is handed over to it: the create gets another or says so, and nothing is left. */
import t from 'tap';
import { existsSync } from 'node:fs';
import { ApiBox, grpcStatus, missing, outcome, until } from '../index.ts';

const skip = missing('busybox') ?? false;
/** containerd.v1.types.Status */
const STOPPED = 3;
t.setTimeout(120_000);

t.test('a shim is killed while it is handed over', { skip, timeout: 110_000 }, async (t) => {
  const box = new ApiBox();
  await box.start();
  await box.make('c');

  const shim = (): Promise<number> => until('a shim to be chosen', () => box.shimOf('c'));
  const worksAgain = async (t: { equal(found: unknown, wanted: unknown): unknown }): Promise<void> => {
    await box.create('c');
    await box.startTask('c');
    t.equal(await box.exec('c', 'x', ['true']), 0);
    await box.kill('c');
    t.equal(await box.wait('c'), 137);
    await box.deleteTask('c');
  };

  await t.test('before it is told of its container: another takes its place', async (t) => {
    await box.restart({ GANTRY_FAILPOINTS: 'task.create.after-bundle=1*delay(500)' });
    const create = box.create('c');
    const first = await shim();
    process.kill(first, 'SIGKILL');
    const pid = await create;
    t.ok(existsSync(`/proc/${pid}`));
    t.not(box.shimOf('c'), first);
    t.equal((await box.tasks()).size, 1);
    await box.kill('c');
    await box.wait('c');
    await box.deleteTask('c');
    await worksAgain(t);
  });

  await t.test('twice: the create fails and says why', async (t) => {
    await box.restart({ GANTRY_FAILPOINTS: 'task.create.after-bundle=2*delay(500)' });
    const create = outcome(box.create('c'));
    const first = await shim();
    process.kill(first, 'SIGKILL');
    const second = await until('a second shim', () => {
      const pid = box.shimOf('c');
      return pid !== undefined && pid !== first && pid;
    });
    process.kill(second, 'SIGKILL');
    t.match(await create, { code: grpcStatus.unavailable, message: /^failed to start shim: / });
    t.same(await box.remains(), []);
    await worksAgain(t);
  });

  await t.test('before it has read what it was told: another takes its place', async (t) => {
    await box.restart({ GANTRY_FAILPOINTS: 'task.create.after-bundle=1*delay(300)' });
    const create = box.create('c');
    const first = await shim();
    process.kill(first, 'SIGSTOP'); // Adopt and Create will lie in its socket
    await new Promise((resolve) => setTimeout(resolve, 600));
    t.notOk(existsSync(`${box.bundleOf('c')}/config.json`));
    process.kill(first, 'SIGKILL');
    await create;
    t.not(box.shimOf('c'), first);
    await box.kill('c');
    await box.wait('c');
    await box.deleteTask('c');
    await worksAgain(t);
  });

  await t.test('between Adopt and Create: the create fails and says why', async (t) => {
    await box.restart({ GANTRY_FAILPOINTS: 'task.create.after-launch=1*delay(500)' });
    const create = outcome(box.create('c'));
    const first = await shim();
    await until('the shim to be adopted', () => existsSync(`${box.bundleOf('c')}/config.json`));
    process.kill(first, 'SIGKILL');
    t.match(await create, { code: grpcStatus.unavailable, message: /^failed to create shim task: / });
    t.same(await box.remains(), []);
    await worksAgain(t);
  });

  await t.test('while it creates: whatever was made of the container is gone', async (t) => {
    await box.restart();
    for (let round = 0; round < 12; round += 1) {
      // Between the first thing that the shim writes and its answer there are a few milliseconds.
      const create = outcome(box.create('c'));
      const first = await shim();
      for (const end = performance.now() + round * 0.7; performance.now() < end;) await nextTurn();
      process.kill(first, 'SIGKILL');
      const { code, message } = await create;
      if (code === 0) {
        // It was killed when all was done, or another took its place: the task is whole.
        await until('its end', async () => {
          if ((await box.tasks()).get('c') === STOPPED) return true;
          await outcome(box.kill('c')); // refused as long as nobody has noticed that the shim is gone
          return false;
        });
        await box.wait('c');
        await box.deleteTask('c');
      } else {
        t.equal(code, grpcStatus.unavailable, message);
        t.match(message, /^failed to (start shim|create shim task): /);
      }
      await until('nothing to remain', async () => (await box.remains()).length === 0);
    }
    await worksAgain(t);
  });

  await box.deleteContainer('c');
  await box.end(t);
});

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
