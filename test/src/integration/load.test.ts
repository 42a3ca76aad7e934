/** Many at once, and clients that do not do their part: everything succeeds or is refused, and nothing adds up. */
import t from 'tap';
import { once } from 'node:events';
import { copyFileSync, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import path from 'node:path';
import { containers, tasks, version } from '@gantry/api';
import { Box, descriptorsOf, imageName, missing, resourcesOf, Rpc, run, until } from '../index.ts';

const skip = missing('ctr', 'mkfifo', 'busybox') ?? false;
const specUrl = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
t.setTimeout(120_000);

t.test('load on gantryd', { skip, timeout: 110_000 }, async (t) => {
  const box = new Box();
  await box.start();
  const { daemon, namespace } = box;
  const rpc = new Rpc(daemon.address);
  const rootfs = path.join(box.dir, 'rootfs');
  mkdirSync(path.join(rootfs, 'bin'), { recursive: true });
  copyFileSync((await run('which', ['busybox'])).stdout.trim(), path.join(rootfs, 'bin/busybox'));
  const patient = { namespace, timeoutMs: 60_000 };

  const makeContainer = (id: string) =>
    rpc.call(
      containers.ContainersService,
      'create',
      containers.CreateContainerRequest.create({
        container: {
          id,
          runtime: { name: 'io.containerd.runc.v2' },
          spec: { typeUrl: specUrl, value: Buffer.from(JSON.stringify(specOf(`/${namespace}/${id}`, rootfs))) },
        },
      }),
      patient,
    );
  const createTask = (id: string, fields: object = {}) =>
    rpc.call(tasks.TasksService, 'create', tasks.CreateTaskRequest.create({ containerId: id, ...fields }), patient);
  const deleteTask = (id: string) =>
    rpc.call(tasks.TasksService, 'delete', tasks.DeleteTaskRequest.create({ containerId: id }), patient);
  const kill = (id: string) =>
    rpc.call(tasks.TasksService, 'kill', tasks.KillRequest.create({ containerId: id, signal: 9 }), patient);
  const removeContainer = (id: string) =>
    rpc.call(containers.ContainersService, 'delete', containers.DeleteContainerRequest.create({ id }), patient);
  /** Ends created tasks, and their containers. */
  const removeAll = async (ids: readonly string[]): Promise<void> => {
    await Promise.all(
      ids.map(async (id) => {
        await kill(id);
        await until(`${id} to be deleted`, () =>
          deleteTask(id).then(
            () => true,
            () => false,
          ),
        );
        await removeContainer(id);
      }),
    );
  };

  // The first run brings what stays: the thread pool, the worker that unpacks, the client's connection.
  t.equal((await box.ctr(['run', '--rm', imageName, 'first', 'true'])).code, 0);
  await rpc.call(version.VersionService, 'version', {});
  await until('the helpers to be gone', async () => (await childrenOf(daemon.pid)) === 0, 15_000);
  const baseline = resourcesOf(daemon.pid);
  const backToBaseline = async (t: { same(found: unknown, wanted: unknown): unknown }) => {
    // One look decides: the collector opens directories for moments, so a second look could see another number.
    const isBack = () => {
      const { fds, threads } = resourcesOf(daemon.pid);
      return fds <= baseline.fds && threads <= baseline.threads;
    };
    const back = await until('descriptors and threads to be back', isBack).catch(() => false);
    t.same(back ? [] : [baseline, resourcesOf(daemon.pid), ...descriptorsOf(daemon.pid)], []);
    t.same(await box.remains(), []);
  };

  await t.test('thirty runs at a time', async (t) => {
    const ids = Array.from({ length: 30 }, (_, i) => `r${i}`);
    const runs = await Promise.all(
      ids.map((id) => box.ctr(['run', '--rm', imageName, id, 'echo', id], { timeoutMs: 60_000 })),
    );
    t.same(
      runs.map(({ code, stdout, stderr }) => [code, stdout, stderr]),
      ids.map((id) => [0, `${id}\n`, '']),
    );
    await backToBaseline(t);
  });

  await t.test('fifty creates at a time, some of them twice', async (t) => {
    const ids = Array.from({ length: 50 }, (_, i) => `m${i}`);
    await Promise.all(ids.map(makeContainer));
    const started = Date.now();
    const pids = await Promise.all(
      ids.map((id) => createTask(id)).concat(ids.slice(0, 10).map((id) => createTask(id))),
    );
    t.ok(Date.now() - started < 30_000, `none takes longer than 30 s (${Date.now() - started} ms)`);
    t.same(pids.slice(50), pids.slice(0, 10), 'a retry of a create that is under way joins it');
    t.equal((await box.tasks()).size, 50);
    await removeAll(ids);
    await backToBaseline(t);
  });

  await t.test('a hundred creates whose clients never open their fifos', async (t) => {
    const ids = Array.from({ length: 100 }, (_, i) => `f${i}`);
    for (let at = 0; at < ids.length; at += 25) {
      const some = ids.slice(at, at + 25);
      await Promise.all(
        some.map(async (id) => {
          const [stdin = '', stdout = '', stderr = ''] = ['in', 'out', 'err'].map((end) =>
            path.join(box.dir, `${id}.${end}`),
          );
          await run('mkfifo', [stdin, stdout, stderr]);
          await makeContainer(id);
          await createTask(id, { stdin, stdout, stderr });
        }),
      );
      t.equal((await box.tasks()).size, 25);
      await removeAll(some);
    }
    await backToBaseline(t);
  });

  await t.test('peers that send garbage, or nothing, or half of something', async (t) => {
    const sockets: Socket[] = [];
    const dial = async (address: string): Promise<Socket> => {
      const socket = connect({ path: address, allowHalfOpen: true });
      socket.on('error', () => undefined);
      sockets.push(socket);
      await once(socket, 'connect');
      return socket;
    };
    for (const address of [daemon.address, `${daemon.address}.ttrpc`]) {
      (await dial(address)).write(Buffer.alloc(70_000, 0xff));
      (await dial(address)).write(Buffer.from([0, 0, 0, 200, 0, 0, 0, 1, 1, 0, ...Buffer.alloc(200, 0xee)]));
      (await dial(address)).write(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0'));
      (await dial(address)).end();
      (await dial(address)).end(Buffer.from([0, 0, 1]));
      (await dial(address)).pause();
    }
    await rpc.call(version.VersionService, 'version', {});
    t.equal((await box.ctr(['run', '--rm', imageName, 'amid', 'echo', 'amid'])).stdout, 'amid\n');
    for (const socket of sockets) socket.destroy();
    await backToBaseline(t);
  });

  rpc.close();
  await box.end(t);
});

async function childrenOf(pid: number): Promise<number> {
  const { stdout } = await run('ps', ['-o', 'args=', '--ppid', String(pid)]);
  return stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '' && !line.includes('gantry-zygote')).length;
}

function specOf(cgroupsPath: string, rootfs: string): object {
  return {
    ociVersion: '1.0.2',
    root: { path: rootfs },
    process: { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/', user: { uid: 0, gid: 0 } },
    // Many share the rootfs: what the runtime makes in /dev is each one's own.
    mounts: [{ destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] }],
    linux: { cgroupsPath, namespaces: [{ type: 'mount' }, { type: 'pid' }] },
  };
}
