/** Our client and our server against containerd's own shim, which speaks ttrpc written in Go. */
import t from 'tap';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants, closeSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { eventsTtrpc, events, taskV2, unpackAny } from '@gantry/api/shim';
import type { types } from '@gantry/api/shim';
import { TtrpcClient, TtrpcServer } from './index.ts';

const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file));

function missing(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  if (busybox === undefined) return 'needs busybox-static';
  for (const [name, flag] of [
    ['containerd-shim-runc-v2', '-v'],
    ['runc', '-v'],
  ] as const) {
    if (spawnSync(name, [flag], { stdio: 'ignore' }).error !== undefined) return `needs ${name}`;
  }
  return false;
}

/** A bundle whose process exits with 7. */
function makeBundle(dir: string, cgroup: string): string {
  const bundle = path.join(dir, 'bundle');
  mkdirSync(path.join(bundle, 'rootfs/bin'), { recursive: true });
  copyFileSync(busybox ?? '', path.join(bundle, 'rootfs/bin/busybox'));
  execFileSync('runc', ['spec'], { cwd: bundle });
  const file = path.join(bundle, 'config.json');
  const spec = JSON.parse(readFileSync(file, 'utf8'));
  spec.process.terminal = false;
  spec.process.args = ['/bin/busybox', 'sh', '-c', 'exit 7'];
  spec.linux.cgroupsPath = cgroup;
  writeFileSync(file, JSON.stringify(spec));
  execFileSync('mkfifo', [path.join(bundle, 'log')]);
  return bundle;
}

t.test('a task lives and ends in containerd’s shim, and its events reach us', { skip: missing() }, async (t) => {
  const id = `gantry-test-${randomBytes(4).toString('hex')}`;
  const dir = mkdtempSync(path.join(os.tmpdir(), 'gantry-ttrpc-'));
  const bundle = makeBundle(dir, `/${id}`);
  // The shim writes its log to a fifo that its server holds open.
  const log = openSync(path.join(bundle, 'log'), constants.O_RDWR | constants.O_NONBLOCK);
  const heard: types.Envelope[] = [];
  const address = path.join(dir, 'events.ttrpc');
  const server = new TtrpcServer().register(eventsTtrpc.EventsService, {
    forward: ({ envelope }) => {
      if (envelope !== undefined) heard.push(envelope);
      return {};
    },
  });
  await server.listen(address);
  const env = { PATH: process.env['PATH'], TTRPC_ADDRESS: address, MAX_SHIM_VERSION: '2' };
  const args = ['-namespace', 'gantry-test', '-id', id, '-address', path.join(dir, 'grpc'), 'start'];
  const socket = execFileSync('containerd-shim-runc-v2', args, { cwd: bundle, env, encoding: 'utf8' }).trim();
  const client = await TtrpcClient.connect(socket, { timeoutMs: 5000 });
  const task = taskV2.TaskService;
  const options = { timeoutMs: 20_000, metadata: new Map([['containerd-namespace-ttrpc', 'gantry-test']]) };
  t.teardown(async () => {
    await client.call(task, 'shutdown', { id, now: true }, options).catch(() => {});
    client.close();
    await server.close({ graceMs: 0 });
    closeSync(log);
    rmSync(dir, { recursive: true, force: true });
  });

  await t.rejects(client.call(task, 'state', { id }, options), { code: 'not found' });
  const { pid } = await client.call(task, 'create', { id, bundle }, options);
  t.ok(pid > 0);
  const wait = client.call(task, 'wait', { id }, options);
  await client.call(task, 'start', { id }, options);
  t.equal((await wait).exitStatus, 7);
  const deleted = await client.call(task, 'delete', { id }, options);
  t.equal(deleted.pid, pid);
  t.equal(deleted.exitStatus, 7);

  while (heard.length < 4) await new Promise((resolve) => setTimeout(resolve, 10));
  t.strictSame(
    heard.map(({ topic, namespace }) => [topic, namespace]),
    ['create', 'start', 'exit', 'delete'].map((name) => [`/tasks/${name}`, 'gantry-test']),
  );
  const exit = heard[2]?.event;
  t.match(exit && unpackAny(events.TaskExit, exit), { containerId: id, id, pid, exitStatus: 7 });

  const gone = new Promise<void>((resolve) => client.onClose(resolve));
  await client.call(task, 'shutdown', { id }, options);
  await gone;
});
