/** The shim as a process: states, exits, execs and the events that tell of them, with real containers. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupsV1, cgroupsV2, runcOptions, timestampToNs, unpackAny } from '@gantry/api/shim';
import t from 'tap';
import { reader } from './testing/client-double.ts';
import { cannotRunContainers, Place } from './testing/shim-under-test.ts';

const why = cannotRunContainers();
const options = why === undefined ? { timeout: 60_000 } : { skip: why };
const place = new Place();
t.teardown(async () => await place.remove());

const SIGTERM = 15;
const SIGKILL = 9;
const sleeper = ['/bin/sh', '-c', 'trap "exit 7" TERM; while true; do sleep 0.05; done'];

t.test('a container lives from create to delete, and every step is announced in order', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/bin/sh', '-c', 'exit 3'] });
  const pid = await shim.create();
  const created = await shim.state();
  t.same([created.id, created.bundle, created.pid, created.status], [shim.id, shim.bundle, pid, 1]);
  t.equal(created.exitedAt, undefined);
  t.equal(readFileSync(join(shim.bundle, 'init.pid'), 'utf8').trim(), String(pid));
  const waits = [shim.wait(), shim.wait(), shim.wait()];
  t.equal(await shim.begin(), pid);
  for (const { exitStatus } of await Promise.all(waits)) t.equal(exitStatus, 3);
  const stopped = await shim.state();
  t.same([stopped.status, stopped.exitStatus], [3, 3]);
  const record = JSON.parse(readFileSync(join(shim.bundle, 'exit.json'), 'utf8')) as Record<string, unknown>;
  t.same([record['pid'], record['exitStatus'], record['oomKilled']], [pid, 3, false]);
  const deleted = await shim.delete();
  t.same([deleted.pid, deleted.exitStatus], [pid, 3]);
  t.ok(deleted.exitedAt !== undefined && timestampToNs(deleted.exitedAt) > 1_700_000_000_000_000_000n);
  await t.rejects(shim.delete(), { code: 'not found', message: 'container not created' });
  await shim.supervisor.until('delete');
  t.same(shim.supervisor.order, ['create', 'start', `exit:${shim.id}`, 'delete']);
  t.ok(shim.supervisor.events.every((event) => event.namespace === 'shim-test'));
  t.match(shim.supervisor.events[2]?.payload, { containerId: shim.id, id: shim.id, pid, exitStatus: 3 });
  await shim.shutdown();
  t.equal(await shim.exited, 0);
  t.notOk(existsSync(shim.socket));
});

t.test('exit codes and signals are reported as a shell would', { ...options }, async (t) => {
  const endings: [string[], number][] = [
    [['/bin/true'], 0],
    [['/bin/false'], 1],
    [['/bin/sh', '-c', 'exit 255'], 255],
  ];
  for (const [args, status] of endings) {
    const shim = await place.start({ args });
    await shim.run();
    t.equal((await shim.wait()).exitStatus, status, args.join(' '));
    t.equal(await shim.finish(), 0);
  }
  for (const [signal, status] of [
    [SIGTERM, 7],
    [SIGKILL, 137],
  ] as const) {
    const shim = await place.start({ args: sleeper });
    await shim.run();
    await new Promise((resolve) => setTimeout(resolve, 100));
    await shim.kill(signal);
    t.equal((await shim.wait()).exitStatus, status, `signal ${signal}`);
    await t.rejects(shim.kill(SIGKILL), { code: 'not found', message: 'process already finished' });
    t.equal(await shim.finish(), 0);
  }
});

t.test('execs run beside init and are announced before it', { ...options }, async (t) => {
  const shim = await place.start({ args: sleeper });
  const pid = await shim.run();
  const stdio = shim.fifos('e1');
  const stdout = reader(stdio.stdout);
  await shim.exec('e1', ['/bin/sh', '-c', 'echo from exec; exit 5'], { ...stdio, stdin: '', stderr: '' });
  t.equal((await shim.state('e1')).status, 1);
  await t.rejects(shim.exec('e1', ['/bin/true']), { code: 'already exists' });
  await t.rejects(shim.kill(SIGKILL, { execId: 'e1' }), {
    code: 'failed precondition',
    message: 'process not created',
  });
  const execPid = await shim.begin('e1');
  t.not(execPid, pid);
  t.equal((await shim.wait('e1')).exitStatus, 5);
  t.equal(await stdout.ended, 'from exec\n');
  await t.rejects(shim.begin('e1'), { message: 'cannot start a stopped process' });
  t.match(await shim.delete('e1'), { pid: execPid, exitStatus: 5 });
  t.notOk(existsSync(join(shim.bundle, 'e1.pid')));
  await t.rejects(shim.state('e1'), { code: 'not found', message: 'process does not exist e1' });

  await shim.exec('e2', ['/bin/sleep', '100']);
  const second = await shim.begin('e2');
  t.equal(readFileSync(join(shim.bundle, 'e2.pid'), 'utf8'), String(second));
  await shim.kill(SIGKILL);
  await shim.wait();
  t.equal((await shim.wait('e2')).exitStatus, 137);
  await t.rejects(shim.exec('e3', ['/bin/true']), { message: 'cannot exec in a stopped state' });
  t.equal(await shim.finish(), 0);
  t.same(shim.supervisor.order, [
    'create',
    'start',
    'exec-added:e1',
    'exec-started:e1',
    'exit:e1',
    'exec-added:e2',
    'exec-started:e2',
    'exit:e2',
    `exit:${shim.id}`,
    'delete',
  ]);
});

t.test('an exec that cannot be executed says so, and the container goes on', { ...options }, async (t) => {
  const shim = await place.start({ args: sleeper });
  await shim.run();
  await shim.exec('bad', ['/no/such/program']);
  await t.rejects(shim.begin('bad'), { message: /no such file or directory|not found/i });
  await shim.delete('bad');
  t.equal((await shim.state()).status, 2);
  await shim.kill(SIGKILL);
  await shim.wait();
  t.equal(await shim.finish(), 0);
});

t.test('a paused container stands still, refuses execs, and goes on', { ...options }, async (t) => {
  const shim = await place.start({ args: sleeper });
  await shim.run();
  await t.rejects(shim.resume(), { message: 'cannot resume a running process' });
  await shim.pause();
  t.equal((await shim.state()).status, 4);
  await t.rejects(shim.pause(), { message: 'cannot pause a paused container' });
  await t.rejects(shim.exec('e1', ['/bin/true']), { message: 'cannot exec in a paused state' });
  await t.rejects(shim.delete(), { message: 'cannot delete a paused process' });
  await shim.resume();
  t.equal((await shim.state()).status, 2);
  await shim.pause();
  await shim.kill(SIGKILL);
  t.equal((await shim.wait()).exitStatus, 137, 'a paused container can be killed');
  t.equal(await shim.finish(), 0);
  t.same(shim.supervisor.order, ['create', 'start', 'paused', 'resumed', 'paused', `exit:${shim.id}`, 'delete']);
});

t.test('pids, stats and update', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/bin/sleep', '1000'], memoryLimitBytes: 64 << 20 });
  const pid = await shim.run();
  await shim.exec('e1', ['/bin/sleep', '1000']);
  const execPid = await shim.begin('e1');
  const { processes } = await shim.pids();
  t.same(processes.map((entry) => entry.pid).sort(), [pid, execPid].sort());
  const info = processes.find((entry) => entry.pid === execPid)?.info;
  t.equal(info === undefined ? undefined : unpackAny(runcOptions.ProcessDetails, info).execId, 'e1');
  t.equal(processes.find((entry) => entry.pid === pid)?.info, undefined);
  t.equal(memoryLimit((await shim.stats()).stats), 64n << 20n);
  await shim.update({ memory: { limit: 32 << 20 } });
  t.equal(memoryLimit((await shim.stats()).stats), 32n << 20n);
  await shim.kill(SIGKILL, { all: true });
  await shim.wait();
  t.equal(await shim.finish(), 0);
});

function memoryLimit(stats: { typeUrl: string; value: Uint8Array } | undefined): bigint | undefined {
  if (stats === undefined) return undefined;
  if (stats.typeUrl === cgroupsV1.Metrics.typeName) return unpackAny(cgroupsV1.Metrics, stats).memory?.usage?.limit;
  return unpackAny(cgroupsV2.Metrics, stats).memory?.usageLimit;
}

t.test('a container that is killed for memory says so', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/bin/sh', '-c', 'tail /dev/zero'], memoryLimitBytes: 16 << 20 });
  await shim.run();
  const { exitStatus } = await shim.wait();
  t.equal(exitStatus, 137);
  await shim.supervisor.until(`exit:${shim.id}`);
  t.same(shim.supervisor.order, ['create', 'start', 'oom', `exit:${shim.id}`]);
  t.match(readFileSync(join(shim.bundle, 'exit.json'), 'utf8'), '"oomKilled":true');
  t.equal(await shim.finish(), 0);
});

t.test('without a pid namespace of its own nothing outlives init', { ...options }, async (t) => {
  const shim = await place.start({
    args: ['/bin/sh', '-c', 'sleep 1000 & sleep 0.2'],
    namespaces: ['mount', 'ipc', 'uts', 'network'],
  });
  await shim.run();
  await shim.exec('e1', ['/bin/sleep', '1000']);
  await shim.begin('e1');
  t.equal((await shim.wait()).exitStatus, 0);
  t.equal((await shim.wait('e1')).exitStatus, 137);
  t.equal(await shim.finish(), 0);
  t.same(shim.supervisor.order.slice(-3), ['exit:e1', `exit:${shim.id}`, 'delete']);
});

t.test('a container that was never started is deleted with status 0 and no exit event', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/bin/true'] });
  await shim.create();
  t.equal((await shim.delete()).exitStatus, 0);
  await shim.supervisor.until('delete');
  t.same(shim.supervisor.order, ['create', 'delete']);
  await shim.shutdown();
  t.equal(await shim.exited, 0);
});

t.test('a container that is killed before it was started reports that', { ...options }, async (t) => {
  const shim = await place.start({ args: ['/bin/true'] });
  await shim.create();
  await shim.kill(SIGKILL);
  t.equal((await shim.wait()).exitStatus, 137);
  await t.rejects(shim.begin(), { message: 'cannot start a stopped process' });
  t.equal((await shim.delete()).exitStatus, 137);
  await shim.shutdown();
  t.equal(await shim.exited, 0);
});

t.test('nothing is left: no process, no cgroup, no mount, no socket', { ...options }, async (t) => {
  await place.endAll();
  t.same(place.leaks(), []);
});
