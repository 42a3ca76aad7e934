/** A shim that is stopped hurts only itself: every other task is served, and it is whole again when it goes on. */
import t from 'tap';
import { Box, imageName, missing, parentOf, until } from '../index.ts';
import type { ListedTask } from '../index.ts';

const skip = missing('ctr') ?? false;
t.setTimeout(90_000);

/** Who waited for a stopped shim would wait for ever. The deadline is 2 s; a busy machine has time to spare. */
const patienceMs = 15_000;

const count = (tasks: ReadonlyMap<string, ListedTask>, status: string): number =>
  [...tasks.values()].filter((task) => task.status === status).length;

t.test('one of ten shims is stopped', { skip, timeout: 80_000 }, async (t) => {
  const box = new Box();
  await box.start();
  for (let i = 0; i < 10; i += 1) {
    const started = await box.ctr(['run', '-d', imageName, `c${i}`, 'sleep', '10000']);
    t.equal(started.code, 0, started.stderr);
  }
  const earlier = await box.tasks();
  const shim = parentOf(earlier.get('c4')?.pid ?? 0);
  t.teardown(() => {
    try {
      process.kill(shim, 'SIGCONT');
    } catch {
      // it ended with the test, as it should
    }
  });

  await t.test('while gantryd runs', async (t) => {
    process.kill(shim, 'SIGSTOP');
    const asked = Date.now();
    const listed = await box.tasks();
    t.ok(Date.now() - asked < patienceMs, 'the list does not wait for it');
    t.same([count(listed, 'RUNNING'), listed.get('c4')?.status], [9, 'UNKNOWN']);
    process.kill(shim, 'SIGCONT');
    await until('it to be RUNNING again', async () => (await box.tasks()).get('c4')?.status === 'RUNNING');
  });

  await t.test('while gantryd dies and comes back', async (t) => {
    process.kill(shim, 'SIGSTOP');
    await box.daemon.kill();
    const started = Date.now();
    await box.daemon.start();
    t.equal((await box.ctr(['version'])).code, 0);
    t.ok(Date.now() - started < patienceMs, 'the API does not wait for it');
    const listed = await until('nine to be known again', async () => {
      const found = await box.tasks();
      return count(found, 'RUNNING') === 9 && found;
    });
    t.ok(Date.now() - started < patienceMs, 'nobody waits for it');
    t.equal(listed.size, 10);
    t.equal(listed.get('c4')?.status, 'UNKNOWN');
    const exec = await box.ctr(['tasks', 'exec', '--exec-id', 'x', 'c5', 'echo', 'untouched']);
    t.equal(exec.stdout, 'untouched\n', exec.stderr);
    const refused = await box.ctr(['tasks', 'exec', '--exec-id', 'x', 'c4', 'true']);
    t.match(refused.stderr, /does not answer/);
    process.kill(shim, 'SIGCONT');
    const later = await until('the tenth to be known again', async () => {
      const found = await box.tasks();
      return count(found, 'RUNNING') === 10 && found;
    });
    t.same(later, earlier, 'all with the same pids');
  });

  await t.test('it dies of it: the task ends, and can be deleted', async (t) => {
    process.kill(shim, 'SIGSTOP');
    await box.daemon.kill();
    await box.daemon.start();
    process.kill(shim, 'SIGKILL');
    await until('it to be STOPPED', async () => (await box.tasks()).get('c4')?.status === 'STOPPED');
    t.match((await box.ctr(['tasks', 'rm', 'c4'])).stderr, /exit code 137\b/);
  });

  for (const id of earlier.keys()) {
    if (id !== 'c4') await box.ctr(['tasks', 'rm', '-f', id]);
    await box.ctr(['containers', 'rm', id]);
  }
  t.same(await box.remains(), []);
  await box.end(t);
});
