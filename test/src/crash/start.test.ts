/** gantryd answers before all of it is open: calls wait for what they need, and a start that dies or fails loses nothing. */
import t from 'tap';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { containers, tasks, v1Types, version } from '@gantry/api';
import { ApiBox, grpcStatus, missing, Rpc, until } from '../index.ts';

const skip = missing('busybox') ?? false;
/** gRPC's status number of a call whose time is over. */
const deadlineExceeded = 4;
/** containerd.v1.types.Status */
const { UNKNOWN, CREATED, RUNNING, STOPPED, PAUSED } = v1Types.Status;
/** Long enough for calls to arrive while gantryd starts, also on a busy machine. */
const pauseMs = 4000;
t.setTimeout(120_000);

t.test('the start of gantryd', { skip, timeout: 110_000 }, async (t) => {
  const box = new ApiBox();
  await box.start();
  await box.run('c');
  const { namespace } = box;
  // A machine that is busy may have it UNKNOWN for a moment.
  const runs = () => until('the task to be RUNNING', async () => (await box.tasks()).get('c') === RUNNING);
  const { ContainersService, CreateContainerRequest, ListContainersRequest } = containers;

  for (const name of ['start.before-tasks', 'start.before-store']) {
    await t.test(`is cut off at ${name}`, async (t) => {
      await box.daemon.kill();
      box.daemon.launch({ env: { GANTRY_FAILPOINTS: `${name}=kill` } });
      await box.daemon.ended();
      await box.start();
      await runs();
      t.equal(await box.exec('c', 'x', ['true']), 0);
    });
  }

  await t.test('takes long: calls wait, and one whose caller gave up does nothing', async (t) => {
    await box.daemon.kill();
    await box.start({ GANTRY_FAILPOINTS: `start.before-store=delay(${pauseMs})` });
    const rpc = new Rpc(box.daemon.address);
    const container = { id: 'early', runtime: { name: 'io.containerd.runc.v2' } };
    const impatient = rpc.failure(ContainersService, 'create', CreateContainerRequest.create({ container }), {
      namespace,
      timeoutMs: 200,
    });
    const listed = box.tasks();
    await rpc.call(version.VersionService, 'version', {});
    t.equal((await impatient).code, deadlineExceeded);
    t.same([...(await listed).keys()], ['c']);
    const found = await rpc.call(ContainersService, 'list', ListContainersRequest.create({}), { namespace });
    t.same(
      (found as containers.ListContainersResponse).containers.map(({ id }) => id),
      ['c'],
    );
    rpc.close();
  });

  await t.test('fails: calls that wait hear why, and the next start is whole', async (t) => {
    await box.daemon.kill();
    await box.daemon.start({
      GANTRY_FAILPOINTS: `start.before-tasks=delay(${pauseMs});start.before-store=error(the disk is tired)`,
    });
    const rpc = new Rpc(box.daemon.address);
    const refused = await rpc.failure(ContainersService, 'list', ListContainersRequest.create({}), { namespace });
    rpc.close();
    t.equal(refused.code, grpcStatus.unavailable);
    t.match(refused.message, /gantryd does not start: the disk is tired/);
    await box.daemon.ended();
    await box.start();
    await runs();
    t.equal((await box.tasks()).size, 1);
  });

  await t.test('is told to end: it ends when it has started', async (t) => {
    await box.daemon.kill();
    await box.daemon.start({ GANTRY_FAILPOINTS: 'start.before-store=delay(500)' });
    await box.daemon.stop();
    await box.start();
    await runs();
    t.equal(await box.exec('c', 'x', ['true']), 0);
  });

  await t.test('lists what it has not asked for as it is', async (t) => {
    const { PauseTaskRequest, ResumeTaskRequest, TasksService } = tasks;
    const rpc = new Rpc(box.daemon.address);
    await box.run('frozen');
    await rpc.call(TasksService, 'pause', PauseTaskRequest.create({ containerId: 'frozen' }), { namespace });
    await box.run('thawed');
    await rpc.call(TasksService, 'pause', PauseTaskRequest.create({ containerId: 'thawed' }), { namespace });
    await rpc.call(TasksService, 'resume', ResumeTaskRequest.create({ containerId: 'thawed' }), { namespace });
    await box.make('new');
    await box.create('new');
    const ending = await box.run('ended');
    rpc.close();
    await box.daemon.kill();
    process.kill(ending, 'SIGTERM');
    process.kill(ending, 'SIGKILL');
    await until('its end to be noted', async () => existsSync(path.join(box.bundleOf('ended'), 'exit.json')));
    await box.start();
    const listed = await until('all to be known', async () => {
      const found = await box.tasks();
      return ![...found.values()].includes(UNKNOWN) && found;
    });
    t.same(Object.fromEntries(listed), { c: RUNNING, ended: STOPPED, frozen: PAUSED, new: CREATED, thawed: RUNNING });
    t.equal(await box.wait('ended'), 137);
    await box.deleteTask('ended');
    await box.deleteContainer('ended');

    // The shim dies while nobody has asked it for anything.
    await box.restart();
    process.kill(box.shimOf('thawed') ?? 0, 'SIGKILL');
    await until('that to be noticed', async () => (await box.tasks()).get('thawed') === STOPPED);
    t.equal(await box.wait('thawed'), 137);
    await box.deleteTask('thawed');
    await box.deleteContainer('thawed');
    for (const id of ['frozen', 'new']) await box.remove(id);
  });

  await box.remove('c');
  await box.end(t);
});
