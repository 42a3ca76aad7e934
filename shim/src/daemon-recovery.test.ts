/** What a shim process does when something goes wrong: failing creates, an absent supervisor, its own death. */
import { existsSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import { reader, until } from './testing/client-double.ts';
import { cannotRunContainers, Place } from './testing/shim-under-test.ts';

const why = cannotRunContainers();
const options = why === undefined ? { timeout: 60_000 } : { skip: why };
const place = new Place();
t.teardown(async () => await place.remove());

const SIGTERM = 15;
const SIGKILL = 9;
const sleeper = ['/bin/sh', '-c', 'trap "exit 7" TERM; while true; do sleep 0.05; done'];

t.test('a create that fails leaves nothing, and may be repeated', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/no/such/program'] });
  await t.rejects(shim.run({ stdin: '', stdout: '/no/such/fifo', stderr: '' }), {
    message: /opening stdout "\/no\/such\/fifo"/,
  });
  await t.rejects(shim.state(), { code: 'not found', message: 'container not created' });
  await t.rejects(shim.run(), { message: /no such file or directory|not found/i });
  await until(
    'no children',
    () => readFileSync(`/proc/${shim.child.pid}/task/${shim.child.pid}/children`, 'utf8') === '',
  );
  try {
    await shim.delete();
  } catch {
    // Whether the failure came at Create or at Start is the runtime's.
  }
  await shim.shutdown();
  t.equal(await shim.exited, 0);
});

t.test('what a supervisor gets wrong is answered with a sentence', { ...options }, async (t) => {
  const shim = await place.start({ args: sleeper });
  await t.rejects(shim.begin(), { code: 'not found', message: 'container not created' });
  await shim.run();
  await t.rejects(shim.create(), { code: 'already exists' });
  await t.rejects(shim.begin(), { message: 'cannot start a running process' });
  await t.rejects(shim.delete(), { message: 'cannot delete a running process' });
  await t.rejects(shim.checkpoint(), { code: 'invalid argument', message: /checkpoint path "": not an absolute path/ });
  await t.rejects(shim.exec('', ['/bin/true']), { code: 'invalid argument', message: /exec id cannot be empty/ });
  await t.rejects(shim.exec('../x', ['/bin/true']), { code: 'invalid argument' });
  await t.rejects(shim.begin('nobody'), { code: 'not found', message: 'process does not exist nobody' });
  await t.rejects(shim.kill(99), { code: 'invalid argument' });
  const { shimPid, taskPid } = await shim.connect();
  t.same([shimPid, taskPid], [shim.child.pid, (await shim.state()).pid]);
  await shim.shutdown();
  t.equal((await shim.state()).status, 2, 'shutdown does nothing while there is a container');
  process.kill(shimPid, 'SIGTERM');
  await until('the signal is noted', () => shim.log.includes('SIGTERM is ignored'));
  await shim.kill(SIGKILL);
  await shim.wait();
  t.equal(await shim.finish(), 0);
});

t.test('a shim without a container ends on SIGTERM', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/bin/true'] });
  shim.child.kill('SIGTERM');
  t.equal(await shim.exited, 0);
  t.notOk(existsSync(shim.socket));
});

t.test('what happens while the supervisor is away is announced when it is back', { ...options }, async (t) => {
  const shim = await place.start({ args: sleeper });
  const pid = await shim.run();
  await shim.supervisor.until('start');
  await shim.supervisor.close();
  await shim.exec('e1', ['/bin/true']);
  await shim.begin('e1');
  await shim.wait('e1');
  await shim.kill(SIGTERM);
  await until('the record', () => existsSync(join(shim.bundle, 'exit.json')));
  await new Promise((resolve) => setTimeout(resolve, 300));
  if (existsSync(shim.supervisor.path)) unlinkSync(shim.supervisor.path);
  await shim.supervisor.listen();
  await shim.reconnect();
  await shim.connect();
  await shim.supervisor.until(`exit:${shim.id}`, 500);
  t.same(shim.supervisor.order, ['create', 'start', 'exec-added:e1', 'exec-started:e1', 'exit:e1', `exit:${shim.id}`]);
  t.match(shim.supervisor.events.at(-1)?.payload, { pid, exitStatus: 7 });
  t.equal(await shim.finish(), 0);
});

t.test('when the shim is killed, the delete action ends and removes what it has left', { ...options }, async (t) => {
  const shim = await place.start({ args: sleeper });
  const pid = await shim.run();
  await shim.exec('e1', ['/bin/sleep', '1000']);
  await shim.begin('e1');
  shim.child.kill('SIGKILL');
  t.equal(await shim.exited, 'SIGKILL');
  const response = shim.deleteAction();
  t.same([response.pid, response.exitStatus], [pid, 137]);
  await until('init is gone', () => !existsSync(`/proc/${pid}`));
  t.equal(shim.deleteAction().exitStatus, 137, 'it can be repeated');
  unlinkSync(shim.socket);
});

t.test('the delete action reports the exit that the shim had recorded', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/bin/sh', '-c', 'exit 9'] });
  const pid = await shim.run();
  await shim.wait();
  shim.child.kill('SIGKILL');
  await shim.exited;
  t.match(shim.deleteAction(), { pid, exitStatus: 9 });
  unlinkSync(shim.socket);
});

t.test('descriptors and memory do not grow with execs', { ...options }, async (t) => {
  const shim = await place.start({ args: sleeper });
  await shim.run();
  const descriptors = (): number => readdirSync(`/proc/${shim.child.pid}/fd`).length;
  const once = async (index: number): Promise<void> => {
    const stdio = shim.fifos(`x${index}`);
    const stdout = reader(stdio.stdout);
    await shim.exec(`x${index}`, ['/bin/echo', 'hi'], { ...stdio, stdin: '' });
    await shim.begin(`x${index}`);
    await shim.wait(`x${index}`);
    await stdout.ended;
    await shim.delete(`x${index}`);
  };
  for (let index = 0; index < 5; index++) await once(index);
  const before = descriptors();
  for (let index = 5; index < 25; index++) await once(index);
  t.equal(descriptors(), before);
  t.same(
    readFileSync(`/proc/${shim.child.pid}/task/${shim.child.pid}/children`, 'utf8').trim().split(' ').length,
    1,
    'no zombies',
  );
  await shim.kill(SIGKILL);
  await shim.wait();
  t.equal(await shim.finish(), 0);
});

t.test('nothing is left: no process, no cgroup, no mount, no socket', { ...options }, async (t) => {
  await place.endAll();
  t.same(place.leaks(), []);
});
