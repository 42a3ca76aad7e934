/** SIGTERM: what is under way is finished, new calls are refused, containers run on and are found again. */
import t from 'tap';
import { ApiBox, grpcStatus, missing, outcome, until } from '../index.ts';

const skip = missing('busybox') ?? false;
/** containerd.v1.types.Status */
const RUNNING = 2;

t.test('gantryd is stopped amid a create', { skip, timeout: 120_000 }, async (t) => {
  const box = new ApiBox();
  await box.start();
  await box.run('before');
  await box.restart({ GANTRY_FAILPOINTS: 'task.create.after-bundle=1*delay(300)' });
  await box.make('amid');
  await box.make('late');
  const create = outcome(box.create('amid'));
  await until('the create to be under way', () => box.shimOf('amid'));
  const stopped = box.daemon.stop();
  t.equal((await create).code, 0, 'it is finished');
  await stopped;
  t.equal((await outcome(box.create('late'))).code, grpcStatus.unavailable, 'nobody listens any more');

  await box.start();
  const tasks = await box.tasks();
  t.equal(tasks.get('before'), RUNNING, 'nothing was asked of it');
  t.ok(tasks.has('amid'));
  await box.startTask('amid');
  t.equal(await box.exec('amid', 'x', ['true']), 0);
  await Promise.all(['before', 'amid'].map((id) => box.remove(id)));
  await box.deleteContainer('late');
  await box.end(t);
});
