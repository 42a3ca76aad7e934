/**
 * Calls about a task that is just being created: a client that closes stdin at once may call CloseIO before Create is
 * answered. As with containerd, they wait for it.
 */
import t from 'tap';
import { tasks, v1Types } from '@gantry/api';
import { ApiBox, grpcStatus, missing, outcome, Rpc, until } from '../index.ts';

const skip = missing('busybox') ?? false;

t.test('calls amid a create', { skip, timeout: 120_000 }, async (t) => {
  const box = new ApiBox();
  await box.start({ GANTRY_FAILPOINTS: 'task.create.after-bundle=1*delay(1000)' });
  const { namespace } = box;
  const get = async (containerId: string): Promise<number | undefined> => {
    const rpc = new Rpc(box.daemon.address);
    const reply = await rpc.call(tasks.TasksService, 'get', { containerId }, { namespace }).finally(() => rpc.close());
    return (reply as tasks.GetResponse).process?.status;
  };

  await t.test('hear of the task when it is there', async (t) => {
    await box.make('c');
    const created = box.create('c');
    await until('the create to be under way', () => box.shimOf('c'));
    t.equal(await get('c'), v1Types.Status.CREATED);
    await created;
  });

  await t.test('hear that there is none when it fails', async (t) => {
    const amid = 'task.create.after-bundle=1*delay(1000)';
    await box.restart({ GANTRY_FAILPOINTS: `${amid};task.create.after-launch=1*error(no)` });
    await box.make('bad');
    const created = outcome(box.create('bad'));
    await until('the create to be under way', () => box.shimOf('bad'));
    t.equal((await outcome(get('bad'))).code, grpcStatus.notFound);
    t.not((await created).code, 0);
    await box.deleteContainer('bad');
  });

  await box.remove('c');
  await box.end(t);
});
