/**
 * gantryd dies or fails at every failpoint of what looks after something: the sandbox controller and the restart monitor. What was
 * half-made is gone or whole after the restart, the same call works again, and nothing is left.
 */
import t from 'tap';
import { existsSync } from 'node:fs';
import { containers } from '@gantry/api';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import { ApiBox, missing, sandboxBundle, SandboxController, sandboxer, until } from '../index.ts';

const skip = missing('busybox') ?? false;
const patienceMs = 60_000;
const RUNNING = 2;

t.setTimeout(240_000);

/** Starts gantryd again, with these failpoints or with none. */
async function restart(box: ApiBox, failpoints = ''): Promise<void> {
  await box.daemon.kill();
  await box.start({ GANTRY_FAILPOINTS: failpoints });
}

async function withClient<T>(box: ApiBox, work: (client: Client) => Promise<T>): Promise<T> {
  using client = connect({ address: box.daemon.address, namespace: box.namespace, timeoutMs: patienceMs });
  return await work(client);
}

t.test('failpoints of the sandbox controller', { skip, timeout: 120_000 }, async (t) => {
  const box = new ApiBox();
  await box.start();
  const isThere = (): boolean => existsSync(sandboxBundle(box, 'pod'));
  const make = () => withClient(box, (client) => new SandboxController(client).make('pod'));
  const shutdown = () =>
    withClient(box, (client) => new SandboxController(client).call('shutdown', { sandboxer, sandboxId: 'pod' }));
  /** A whole one can be made, and goes. */
  const works = async (): Promise<void> => {
    await make();
    await withClient(box, (client) => new SandboxController(client).call('start', { sandboxer, sandboxId: 'pod' }));
    await shutdown();
  };

  for (const name of ['sandbox.create.after-bundle', 'sandbox.create.after-shim', 'sandbox.create.after-create']) {
    await t.test(`kill and error at ${name}`, async (t) => {
      await restart(box, `${name}=kill`);
      await t.rejects(make(), { code: 'unavailable' });
      await until('gantryd to die', () => box.daemon.hasEnded, patienceMs);
      t.ok(isThere(), 'something is half-made');
      await restart(box);
      await until('it to go', () => !isThere(), patienceMs);
      await until('its shim to end', async () => (await box.remains()).length === 0, patienceMs);
      await restart(box, `${name}=1*error(the disk is tired)`);
      await t.rejects(make(), { message: /the disk is tired/ });
      t.notOk(isThere(), 'what failed is taken back');
      await works();
      t.notOk(isThere());
    });
  }

  for (const name of ['sandbox.shutdown.after-shim', 'sandbox.shutdown.after-clean-up']) {
    await t.test(`kill and error at ${name}`, async (t) => {
      await make();
      await restart(box, `${name}=kill`);
      await t.rejects(shutdown(), { code: 'unavailable' });
      await until('gantryd to die', () => box.daemon.hasEnded, patienceMs);
      await restart(box, `${name}=1*error(the disk is tired)`);
      await t.rejects(shutdown(), { message: /the disk is tired/ });
      await shutdown();
      t.notOk(isThere());
      await works();
    });
  }

  await until('every shim to end', async () => (await box.remains()).length === 0, patienceMs);
  await box.end(t);
});

t.test('failpoints of the restart monitor', { skip, timeout: 120_000 }, async (t) => {
  const box = new ApiBox({ config: '[restart]\ninterval = "100ms"\n' });
  await box.start();
  const { ContainersService: service } = containers;
  const label = (labels: Record<string, string>): Promise<unknown> =>
    withClient(box, (client) =>
      client.transport.unary(service, service.methods.update, {
        container: { id: 'c', labels },
        updateMask: { paths: Object.keys(labels).map((key) => `labels.${key}`) },
      }),
    );
  const pid = (): Promise<number | undefined> =>
    withClient(box, async (client) => {
      const task = await client.tasks.get('c').catch(() => undefined); // none between two lives
      return task?.status === RUNNING ? task.pid : undefined;
    });
  const count = (): Promise<string> =>
    withClient(box, async (client) => (await client.containers.get('c')).labels['containerd.io/restart.count'] ?? '');
  await box.run('c');
  await label({ 'containerd.io/restart.status': 'running' });

  for (const name of ['restart.after-count', 'restart.after-end', 'restart.after-create']) {
    for (const action of ['kill', '1*error(the disk is tired)']) {
      await t.test(`${action} at ${name}`, async (t) => {
        await restart(box, `${name}=${action}`);
        const before = await until('the task to be known', pid, patienceMs);
        process.kill(before, 'SIGKILL');
        if (action === 'kill') {
          await until('gantryd to die', () => box.daemon.hasEnded, patienceMs);
          await restart(box);
        }
        const again = async (): Promise<boolean> => ![undefined, before].includes(await pid());
        await until('the task to run again', again, patienceMs);
        if (action === 'kill') t.match(await count(), /^[1-9]/);
        else {
          const warned = box.logged(40).map(({ err }) => String(err));
          t.ok(
            warned.some((err) => err.includes('the disk is tired')),
            'the failure is told',
          );
        }
      });
    }
  }
  await label({ 'containerd.io/restart.status': '' });
  await restart(box);
  await until('the task to be known', pid, patienceMs);
  await box.remove('c');
  await box.end(t);
});
