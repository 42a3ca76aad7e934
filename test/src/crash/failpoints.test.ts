/**
 * gantryd dies, or fails, at every failpoint: what was half-made is gone or whole after the restart, the same command
 * works again, and nothing is left.
 */
import t from 'tap';
import { existsSync } from 'node:fs';
import { Box, imageName, missing, parentOf, until } from '../index.ts';

const skip = missing('ctr') ?? false;
t.setTimeout(240_000);

const image = imageName;
const sleeper = ['sleep', '10000'];

/** Create: the container record stays, the task is made anew from it. */
const inCreate = ['after-intent', 'after-bundle', 'after-launch', 'after-create'].map((name) => `task.create.${name}`);
const inDelete = ['after-shim', 'after-record', 'after-shutdown', 'after-bundle'].map((name) => `task.delete.${name}`);
const inBury = ['task.bury.after-cleanup', 'task.bury.after-record'];

/** Starts gantryd again without failpoints; resolves when it has answered about tasks. */
async function restart(box: Box): Promise<void> {
  await box.daemon.start();
  await box.ctr(['tasks', 'ls']);
}

t.test('failpoints', { skip, timeout: 230_000 }, async (t) => {
  const box = new Box();
  await box.start();
  const arm = async (name: string, action: string): Promise<void> => {
    await box.daemon.stop();
    await box.daemon.start({ GANTRY_FAILPOINTS: `${name}=${action}` });
  };
  const nothingLeft = () => until('nothing to be left', async () => (await box.remains()).length === 0).catch(() => {});

  for (const name of inCreate) {
    t.test(`kill at ${name}`, async (t) => {
      await box.ctr(['containers', 'create', image, 'c', ...sleeper]);
      await arm(name, 'kill');
      const cut = await box.ctr(['tasks', 'start', '-d', 'c']);
      t.not(cut.code, 0);
      await box.daemon.ended();
      await restart(box);
      const whole = name === 'task.create.after-create';
      const settled = await until('the task to be settled', async () => {
        const found = (await box.tasks()).get('c')?.status;
        return found === 'UNKNOWN' || (found !== undefined && !whole) ? false : (found ?? 'gone');
      });
      t.equal(settled, whole ? 'CREATED' : 'gone');
      if (whole) t.equal((await box.ctr(['tasks', 'rm', '-f', 'c'])).code, 0);
      await nothingLeft();
      t.same(await box.remains(), []);
      const again = await box.ctr(['tasks', 'start', '-d', 'c']);
      t.equal(again.code, 0, again.stderr);
      t.equal((await box.tasks()).get('c')?.status, 'RUNNING');
      await box.removeAll();
      t.same(await box.remains(), []);
    });

    t.test(`error at ${name}`, async (t) => {
      await box.ctr(['containers', 'create', image, 'c', ...sleeper]);
      await arm(name, '1*error(the disk is tired)');
      const failed = await box.ctr(['tasks', 'start', '-d', 'c']);
      t.not(failed.code, 0);
      t.match(failed.stderr, /the disk is tired/);
      t.same(await box.remains(), []);
      const again = await box.ctr(['tasks', 'start', '-d', 'c']);
      t.equal(again.code, 0, again.stderr);
      await box.removeAll();
      t.same(await box.remains(), []);
    });
  }

  t.test('kill at task.start.after-shim', async (t) => {
    await box.ctr(['containers', 'create', image, 'c', ...sleeper]);
    await arm('task.start.after-shim', 'kill');
    t.not((await box.ctr(['tasks', 'start', '-d', 'c'])).code, 0);
    await box.daemon.ended();
    await restart(box);
    await until('the task to be known', async () => (await box.tasks()).get('c')?.status === 'RUNNING');
    const exec = await box.ctr(['tasks', 'exec', '--exec-id', 'x', 'c', 'echo', 'here']);
    t.equal(exec.stdout, 'here\n', exec.stderr);
    await box.removeAll();
    t.same(await box.remains(), []);
  });

  for (const name of inDelete) {
    for (const action of ['kill', '1*error(the disk is tired)']) {
      t.test(`${action} at ${name}`, async (t) => {
        await box.ctr(['run', '-d', image, 'c', 'sh', '-c', 'exit 42']);
        await until('the container to end', async () => (await box.tasks()).get('c')?.status === 'STOPPED');
        await arm(name, action);
        await until('it to be known', async () => (await box.tasks()).get('c')?.status === 'STOPPED');
        const cut = await box.ctr(['tasks', 'rm', 'c']);
        // What comes after the record is gone comes after the answer, too.
        const answered = name === 'task.delete.after-shutdown' || name === 'task.delete.after-bundle';
        if (!answered) t.notMatch(cut.stderr, /exit code/, 'the first Delete does not succeed');
        if (action === 'kill') {
          await box.daemon.ended();
          await restart(box);
          await until('it to be settled', async () => (await box.tasks()).get('c')?.status !== 'UNKNOWN');
        } else t.match(cut.stderr, answered ? /exit code 42\b/ : /the disk is tired/);
        const again = await box.ctr(['tasks', 'rm', 'c']);
        // While the record is there Delete gives its answer again, else the task is gone, and that is said.
        t.match(again.stderr, name === 'task.delete.after-shim' ? /exit code 42\b/ : /not found/);
        await nothingLeft();
        t.same(await box.remains(), []);
        await box.removeAll();
      });
    }
  }

  for (const name of inBury) {
    for (const action of ['kill', '1*error(the disk is tired)']) {
      t.test(`${action} at ${name}`, async (t) => {
        await arm(name, action);
        await box.ctr(['run', '-d', image, 'c', ...sleeper]);
        const pid = (await box.tasks()).get('c')?.pid ?? 0;
        process.kill(parentOf(pid), 'SIGKILL');
        if (action === 'kill') {
          await box.daemon.ended();
          await restart(box);
        }
        await until('the task to be stopped', async () => (await box.tasks()).get('c')?.status === 'STOPPED');
        t.notOk(existsSync(`/proc/${pid}/root/bin`), 'init is gone');
        t.match((await box.ctr(['tasks', 'rm', 'c'])).stderr, /exit code 137\b/);
        await box.removeAll();
        t.same(await box.remains(), []);
      });
    }
  }

  t.test('in the end', async (t) => {
    await box.daemon.stop();
    await box.daemon.start();
    const { stdout } = await box.ctr(['run', '--rm', image, 'fine', 'echo', 'fine']);
    t.equal(stdout, 'fine\n');
    t.same(await box.remains(), []);
    await box.end(t);
  });
});
