/**
 * A host with pure cgroup v2, from the supervisor down: limits as the container sees them, devices, pause, stats, lack
 * of memory, exec beside groups of the container's own, and a supervisor that dies. Runs where the host is such a one.
 */
import t from 'tap';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { cgroupsV2, unpackAny } from '@gantry/api';
import type { events as eventTypes } from '@gantry/api';
import { connect, statusName } from '@gantry/client';
import type { Client, SupervisorEvent } from '@gantry/client';
import {
  ctr,
  gantry,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  until,
} from '../index.ts';
import type { CommandResult } from '../index.ts';

const cgroupRoot = '/sys/fs/cgroup';
const unified = existsSync(path.join(cgroupRoot, 'cgroup.controllers'));
const skip = missing('busybox') ?? (unified ? false : 'the host has cgroup v1 controllers; see test/vm');

/** A machine in software emulation needs seconds where a real one needs milliseconds. */
const slowMs = 120_000;

const host = {
  before: hostState(),
  dir: scratchDirectory(),
  namespace: scratchNamespace('v'),
};
const daemon = gantryd(host.dir);
const seen: SupervisorEvent[] = [];

function call(...args: string[]): Promise<CommandResult> {
  return gantry(daemon, host.namespace, args, { timeoutMs: slowMs });
}

async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await call(...args);
  if (code !== 0) throw new Error(`gantry ${args.join(' ')} ended with ${code}: ${stderr}\n${daemon.log()}`);
  return stdout;
}

function groupFile(id: string, name: string): string {
  return readFileSync(path.join(cgroupRoot, host.namespace, id, name), 'utf8').trim();
}

async function withClient<T>(work: (client: Client) => Promise<T>): Promise<T> {
  using client = connect({ address: daemon.address, namespace: host.namespace, timeoutMs: slowMs });
  return await work(client);
}

/** Events of the whole run, until the supervisor goes. */
async function listen(client: Client): Promise<void> {
  try {
    for await (const event of client.events.subscribe()) seen.push(event);
  } catch {
    // The supervisor is killed in the course of the test.
  }
}

t.setTimeout(slowMs * 5);

t.test('containers on a host with cgroup v2 alone', { skip, timeout: slowMs * 5 }, async (t) => {
  t.teardown(async () => {
    // Only after a failure; the last test has ended it.
    if (daemon.pid !== 0) await daemon.kill();
  });
  await daemon.start();
  using listener = connect({ address: daemon.address, namespace: host.namespace, timeoutMs: slowMs });
  const listening = listen(listener);
  const archive = path.join(host.dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  await succeed('load', '-i', archive);
  await until('the first event', () => seen.length > 0, slowMs);

  await t.test('limits are in the container’s own view of its group, which it cannot write', async (t) => {
    const script = [
      'cd /sys/fs/cgroup',
      'cat /proc/self/cgroup memory.max cpu.max',
      'cat cgroup.procs | head -n 1',
      'touch x',
      'head -c 1 /dev/zero | wc -c',
      'mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg',
    ].join('; ');
    const limits = ['--memory', '64m', '--cpus', '0.5'];
    const { stdout, stderr } = await call('run', '--rm', ...limits, imageName, 'sh', '-c', script);
    t.same(stdout.trim().split('\n'), ['0::/', '67108864', '50000 100000', '1', '1'], stdout + stderr);
    t.match(stderr, /x: Read-only file system/);
    t.match(stderr, /\/tmp\/kmsg: Operation not permitted/, 'the device program denies what is not on its list');
  });

  await t.test('a privileged container may use any device', async (t) => {
    const script = 'mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg | wc -c';
    t.equal((await succeed('run', '--rm', '--privileged', imageName, 'sh', '-c', script)).trim(), '1');
  });

  await t.test('lack of memory ends the container with 137 and is announced', async (t) => {
    const run = await call('run', '--name', 'eater', '--memory', '16m', imageName, 'tail', '/dev/zero');
    t.equal(run.code, 137, run.stderr);
    const announced = await until('the event', () => seen.find(({ topic }) => topic === '/tasks/oom'), slowMs);
    t.equal((announced.payload as eventTypes.TaskOOM).containerId, 'eater');
    await succeed('rm', 'eater');
  });

  await t.test('pause, stats and update work on the group', async (t) => {
    await succeed(
      'run',
      '-d',
      '--name',
      'long',
      '--memory',
      '64m',
      imageName,
      'sh',
      '-c',
      'while sleep 0.2; do :; done',
    );
    await withClient(async (client) => {
      await client.tasks.pause('long');
      t.match(groupFile('long', 'cgroup.events'), /^frozen 1$/m);
      t.equal(statusName((await client.tasks.get('long')).status), 'paused');
      const refused = await call('exec', 'long', 'true');
      t.match(refused.stderr, /paused/);
      await client.tasks.resume('long');
      t.match(groupFile('long', 'cgroup.events'), /^frozen 0$/m);

      const [metric] = await client.tasks.metrics(['id==long']);
      const { memory, pids, cpu } = unpackAny(cgroupsV2.Metrics, metric?.data ?? { typeUrl: '', value: Buffer.of() });
      t.equal(memory?.usageLimit, 67_108_864n);
      t.ok((memory?.usage ?? 0n) > 0n && (cpu?.usageUsec ?? 0n) > 0n && (pids?.current ?? 0n) > 0n);

      await client.tasks.update('long', { memory: { limit: 100 << 20 }, pids: { limit: 77 } });
      t.same([groupFile('long', 'memory.max'), groupFile('long', 'pids.max')], [String(100 << 20), '77']);
    });
    t.match(await succeed('stats', '--no-stream', 'long'), /long/);
    t.match(groupFile('long', 'memory.events'), /^oom_kill 0$/m);
  });

  await t.test('exec goes where init is when the container has made groups of its own', async (t) => {
    const script =
      'mount -o remount,rw,bind /sys/fs/cgroup && cd /sys/fs/cgroup && mkdir -p inner/deep && echo 1 > inner/cgroup.procs && ' +
      'echo +memory > cgroup.subtree_control && echo ready; while sleep 0.2; do :; done';
    await succeed('run', '-d', '--privileged', '--name', 'nested', imageName, 'sh', '-c', script);
    await until('its groups', () => /memory/.test(groupFile('nested', 'cgroup.subtree_control')), slowMs);
    t.equal((await succeed('exec', 'nested', 'cat', '/proc/self/cgroup')).trim(), '0::/inner');
    const listed = await withClient((client) => client.tasks.pids('nested'));
    t.ok(listed.length > 0, 'processes of inner groups are listed');
    await succeed('rm', '-f', 'nested');
    t.notOk(existsSync(path.join(cgroupRoot, host.namespace, 'nested')), 'inner groups are removed as well');
  });

  await t.test('Debian’s ctr runs the same', { skip: missing('ctr') ?? false }, async (t) => {
    const script = 'cat /proc/self/cgroup; mount -t cgroup2 cgroup2 /tmp || echo refused; sleep 1';
    const words = ['run', '--rm', '--memory-limit', '67108864', imageName, 'c', 'sh', '-c', script];
    const { code, stdout, stderr } = await ctr(daemon, host.namespace, words, { timeoutMs: slowMs });
    t.equal(code, 0, stderr);
    t.match(stdout, /^0::\/.*\nrefused\n$/, stderr);
  });

  await t.test('a supervisor that is killed finds its containers again', async (t) => {
    const pid = await withClient(async (client) => (await client.tasks.get('long')).pid);
    await daemon.kill();
    await listening;
    t.ok(existsSync(`/proc/${pid}`), 'the container lives on');
    await daemon.start();
    await withClient(async (client) => {
      const task = await until(
        'the task to be running',
        async () => {
          const found = await client.tasks.get('long');
          return statusName(found.status) === 'running' ? found : undefined;
        },
        slowMs,
      );
      t.equal(task.pid, pid);
      const [metric] = await client.tasks.metrics(['id==long']);
      t.match(metric?.data?.typeUrl, /cgroups\.v2\.Metrics$/);
    });
    t.equal((await succeed('exec', 'long', 'cat', '/sys/fs/cgroup/memory.max')).trim(), String(100 << 20));
    await succeed('stop', '-t', '1', 'long');
    await succeed('rm', 'long');
  });

  await t.test('nothing is left', async (t) => {
    await succeed('rmi', imageName);
    await daemon.stop();
    t.same(leaks(host.before, [host.dir, host.namespace]), []);
    removeScratch(host.dir);
  });
});
