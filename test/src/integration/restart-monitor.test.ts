/** Restart policies by label, as nerdctl's `--restart` sets them: what ends is started again, or not, and across a death of gantryd. */
import t from 'tap';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import {
  ctr,
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

const skip = missing('ctr', 'busybox') ?? false;
const label = (name: string): string => `containerd.io/restart.${name}`;
const patienceMs = 60_000;

t.setTimeout(240_000);
t.test('restart policies', { skip, timeout: 230_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('m');
  const config = path.join(dir, 'config.toml');
  writeFileSync(config, '[restart]\ninterval = "200ms"\n');
  const daemon = gantryd(dir, ['--config', config]);
  await daemon.start();
  t.teardown(() => (daemon.pid === 0 ? undefined : daemon.kill())); // when something has failed
  const on = (words: readonly string[]) => ctr(daemon, namespace, words);
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  t.equal((await on(['images', 'import', archive])).code, 0);
  let client: Client = connect({ address: daemon.address, namespace });

  const labelsOf = async (id: string): Promise<Record<string, string>> => (await client.containers.get(id)).labels;
  const countOf = async (id: string): Promise<number> => Number((await labelsOf(id))[label('count')] ?? '0');
  const setLabels = (id: string, labels: Record<string, string>) =>
    on(['containers', 'label', id, ...Object.entries(labels).map(([key, value]) => `${label(key)}=${value}`)]);
  const start = async (id: string, labels: Record<string, string>, script: string): Promise<void> => {
    const flags = Object.entries(labels).flatMap(([key, value]) => ['--label', `${label(key)}=${value}`]);
    const made = await on(['run', '-d', '--null-io', ...flags, imageName, id, 'sh', '-c', script]);
    t.equal(made.code, 0, made.stderr);
  };
  const taskOf = (id: string) => client.tasks.get(id).catch(() => undefined); // there is none between two lives
  /** Pid of a task that runs. */
  const runningPid = async (id: string): Promise<number | undefined> => {
    const task = await taskOf(id);
    return task?.status === 2 && task.pid > 1 ? task.pid : undefined;
  };

  await t.test('always: a task that was killed runs again, and writes where its label says', async (t) => {
    const log = path.join(dir, 'log');
    await start('a', { status: 'running', loguri: `file://${log}` }, 'echo started; exec sleep 100000');
    const first = await runningPid('a');
    await client.tasks.kill('a', 9);
    const again = async (): Promise<boolean> => ![undefined, first].includes(await runningPid('a'));
    await until('the task to run again', again, patienceMs);
    t.equal(await countOf('a'), 1);
    await until('its output', () => existsSync(log) && readFileSync(log, 'utf8') === 'started\n', patienceMs);
  });

  await t.test('on-failure: so often, and not after success', async (t) => {
    const log = path.join(dir, 'f.log');
    const lives = (): string => (existsSync(log) ? readFileSync(log, 'utf8') : '');
    await start('f', { status: 'running', policy: 'on-failure:2', loguri: `file://${log}` }, 'echo life; exit 3');
    await start('s', { status: 'running', policy: 'on-failure' }, 'exit 0');
    await start('n', { status: 'running', policy: 'no' }, 'exit 3');
    await until('two restarts', () => lives() === 'life\nlife\n', patienceMs);
    // A container that is always restarted shows that the monitor has looked since.
    const seen = await countOf('a');
    await client.tasks.kill('a', 9);
    await until('the monitor to look', async () => (await countOf('a')) > seen, patienceMs);
    t.equal(lives(), 'life\nlife\n', 'no third restart');
    t.same([await countOf('f'), await countOf('s'), await countOf('n')], [2, 0, 0]);
  });

  await t.test('unless-stopped, and what a person wants stopped', async (t) => {
    await start('u', { status: 'running', policy: 'unless-stopped', 'explicitly-stopped': 'true' }, 'exit 3');
    await setLabels('a', { status: 'stopped' });
    await until(
      'the task to be gone',
      async () => (await on(['tasks', 'ls', '-q'])).stdout.match(/^a$/m) === null,
      patienceMs,
    );
    t.equal(await countOf('u'), 0);
    await setLabels('u', { 'explicitly-stopped': '' });
    await until('it to be restarted', async () => (await countOf('u')) > 0, patienceMs);
    await setLabels('u', { status: 'stopped' });
  });

  await t.test('gantryd that dies goes on with it', async () => {
    await setLabels('a', { status: 'running' });
    const pid = await until('the task to run', () => runningPid('a'), patienceMs);
    await daemon.kill();
    client.close();
    process.kill(pid, 'SIGKILL');
    await daemon.start();
    client = connect({ address: daemon.address, namespace });
    const again = async (): Promise<boolean> => ![undefined, pid].includes(await runningPid('a'));
    await until('the task to run again', again, patienceMs);
    await setLabels('a', { status: 'stopped' });
    await until(
      'the task to be gone',
      async () => (await on(['tasks', 'ls', '-q'])).stdout.match(/^a$/m) === null,
      patienceMs,
    );
  });

  for (const id of ['a', 'f', 's', 'n', 'u']) {
    await setLabels(id, { status: '' }); // as nerdctl does: nobody looks after it any more
    await client.removeContainer(id, { force: true });
  }
  client.close();
  // A deleted task's shim ends behind the answer.
  await until('the shims to end', () => readdirSync(path.join(daemon.state, 's')).length === 0, patienceMs);
  await daemon.stop();
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
