/** Sandboxes that shims hold: the controller, over shims with the sandbox API and without; gantryd and shims that die. */
import t from 'tap';
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { containers, tasks } from '@gantry/api';
import { connect } from '@gantry/client';
import { Box, checkout, missing, parentOf, run, sandboxBundle, SandboxController, sandboxer, until } from '../index.ts';

const skip = missing('ctr', 'busybox', 'containerd-shim-runc-v2') ?? false;
const ownShim = path.join(checkout, 'shim/bin/containerd-shim-gantry-v1.js');
const specUrl = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
t.setTimeout(120_000);

t.test('sandboxes', { skip, timeout: 115_000 }, async (t) => {
  const box = new Box();
  await box.start();
  t.teardown(() => (box.daemon.pid === 0 ? undefined : box.daemon.kill())); // when something has failed
  using client = connect({ address: box.daemon.address, namespace: box.namespace, timeoutMs: 60_000 });
  const controller = new SandboxController(client);
  const call = controller.call.bind(controller);
  const make = controller.make.bind(controller);
  const bundle = (id: string): string => sandboxBundle(box, id);
  const isRunning = (pid: number): boolean => existsSync(`/proc/${pid}/stat`);

  await t.test('its life: create, start, status, stop, wait, shutdown; and what is told of it', async (t) => {
    const topics: string[] = [];
    const events = client.events.subscribe([`namespace==${box.namespace},topic~=|^/sandboxes/|`]);
    const watching = (async () => {
      for await (const { topic, payload } of events) {
        t.match(payload, { sandboxId: 'pod' });
        if (topics.push(topic) === 3) return;
      }
    })();
    // A version that answers was asked for behind the subscription, on the same connection.
    await client.version();
    t.same(await make('pod'), { sandboxId: 'pod' });
    await t.rejects(make('pod'), { code: 'already exists', message: /already running/ });
    const started = await call('start', { sandboxer, sandboxId: 'pod' });
    t.match(started, { sandboxId: 'pod', version: Number, address: /^unix:\/\//, createdAt: {} });
    t.ok(isRunning(started.pid), 'the pid is a process');
    await t.rejects(call('start', { sandboxer, sandboxId: 'pod' }), { code: 'failed precondition' });
    t.match(await call('platform', { sandboxer, sandboxId: 'pod' }), { platform: { os: 'linux' } });
    const status = await call('status', { sandboxer, sandboxId: 'pod', verbose: true });
    t.match(status, { sandboxId: 'pod', pid: started.pid, state: 'SANDBOX_READY', address: started.address });
    t.equal(status.info['bundle'], bundle('pod'));
    await t.rejects(call('metrics', { sandboxer, sandboxId: 'pod' }), { code: 'not implemented' });
    await t.rejects(call('update', { sandboxer, sandboxId: 'pod', sandbox: {} }), { code: 'not implemented' });

    const ended = call('wait', { sandboxer, sandboxId: 'pod' });
    await call('stop', { sandboxer, sandboxId: 'pod', timeoutSecs: 5 });
    t.match(await ended, { exitStatus: 0, exitedAt: {} });
    t.match(await call('status', { sandboxer, sandboxId: 'pod' }), { state: 'SANDBOX_NOTREADY', exitedAt: {} });
    await call('shutdown', { sandboxer, sandboxId: 'pod' });
    t.notOk(existsSync(bundle('pod')));
    await until('the shim to end', () => !isRunning(started.pid));
    await watching;
    t.same(topics, ['/sandboxes/create', '/sandboxes/start', '/sandboxes/exit']);
  });

  await t.test('what is not there', async (t) => {
    for (const method of ['start', 'platform', 'wait', 'shutdown', 'metrics'] as const)
      await t.rejects(call(method, { sandboxer, sandboxId: 'absent' }), { code: 'not found' }, method);
    await t.rejects(call('update', { sandboxer, sandboxId: 'absent', sandbox: {} }), { code: 'not found' });
    await t.rejects(call('update', { sandboxer, sandboxId: 'absent' }), { code: 'invalid argument' });
    await call('stop', { sandboxer, sandboxId: 'absent' });
    t.match(await call('status', { sandboxer, sandboxId: 'absent' }), { sandboxId: 'absent', state: '', exitedAt: {} });
    await t.rejects(call('status', { sandboxId: 'absent' }), { code: 'invalid argument' });
    await t.rejects(call('status', { sandboxer: 'podsandbox', sandboxId: 'absent' }), { code: 'not found' });
    await t.rejects(make('a/b'), { code: 'invalid argument' });
    await t.rejects(make('../../x'), { code: 'invalid argument' });
    await t.rejects(make('none', 'io.containerd.none.v1'), { message: /not installed/ });
    await t.rejects(call('create', { sandboxer, sandboxId: 'unrecorded' }), { code: 'not found' });
  });

  await t.test("a shim without the sandbox API: Debian's says so, and nothing is left of it", async (t) => {
    const shim = (await run('which', ['containerd-shim-runc-v2'])).stdout.trim();
    await t.rejects(make('without', shim), { code: 'not implemented' });
    t.notOk(existsSync(bundle('without')));
    t.same(await box.remains(), []);
  });

  await t.test('it goes on when gantryd is killed; what is left of a dead shim goes', async (t) => {
    await make('pod');
    const { pid } = await call('start', { sandboxer, sandboxId: 'pod' });
    await box.daemon.kill();
    await box.daemon.start();
    t.match(await call('status', { sandboxer, sandboxId: 'pod' }), { pid, state: 'SANDBOX_READY' });
    process.kill(pid, 'SIGKILL');
    await until('the shim to be gone', () => !isRunning(pid));
    t.match(await call('status', { sandboxer, sandboxId: 'pod' }), { pid: 0, state: '', exitedAt: {} });
    await t.rejects(make('pod'), { code: 'already exists' });
    await call('shutdown', { sandboxer, sandboxId: 'pod' });
    t.notOk(existsSync(bundle('pod')));
    t.same(await make('pod'), { sandboxId: 'pod' });
    await call('shutdown', { sandboxer, sandboxId: 'pod' });
  });

  await t.test('a container in a sandbox whose shim has the task API too gets that shim', async (t) => {
    const rootfs = path.join(box.dir, 'rootfs');
    mkdirSync(path.join(rootfs, 'bin'), { recursive: true });
    copyFileSync((await run('which', ['busybox'])).stdout.trim(), path.join(rootfs, 'bin/busybox'));
    await make('pod', ownShim); // by its path it is a shim like any other
    const { pid } = await call('start', { sandboxer, sandboxId: 'pod' });
    const spec = {
      ociVersion: '1.0.2',
      root: { path: rootfs },
      process: { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/', user: { uid: 0, gid: 0 } },
      mounts: [{ destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] }],
      linux: { cgroupsPath: `/${box.namespace}/pod`, namespaces: [{ type: 'mount' }, { type: 'pid' }] },
    };
    const container = {
      id: 'pod',
      sandbox: 'pod',
      runtime: { name: ownShim },
      spec: { typeUrl: specUrl, value: Buffer.from(JSON.stringify(spec)) },
    };
    const { ContainersService: service } = containers;
    await client.transport.unary(service, service.methods.create, { container });
    for (const life of [1, 2]) {
      await client.tasks.create(tasks.CreateTaskRequest.create({ containerId: 'pod' }));
      const init = await client.tasks.start('pod');
      t.equal(parentOf(init), pid, `life ${life}: the sandbox's shim has it`);
      if (life === 1) {
        await box.daemon.kill();
        await box.daemon.start();
        t.equal((await client.tasks.get('pod')).pid, init, 'gantryd finds it again');
      }
      await client.tasks.kill('pod', 9);
      t.equal((await client.tasks.wait('pod')).exitStatus, 137);
      await client.tasks.delete('pod');
      t.match(await call('status', { sandboxer, sandboxId: 'pod' }), { pid, state: 'SANDBOX_READY' });
    }
    await client.containers.delete('pod');
    await call('shutdown', { sandboxer, sandboxId: 'pod' });
    await until('the shim to end', () => !isRunning(pid));
    t.same(readdirSync(path.join(box.daemon.state, 'sandboxes')), []);
  });

  await box.end(t);
});
