/**
 * OCI runtimes that are not ours in gantry's shim: the option BinaryName (`ctr run --runc-binary`), with Debian's runc,
 * with our own runtime's command, and with what the configuration makes of a name.
 */
import t from 'tap';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  checkout,
  ctr,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  mountsWith,
  ociArchive,
  processesWith,
  removeEmptyGroups,
} from '../index.ts';
import { removeScratch, runOnTerminal, scratchDirectory, scratchNamespace, until } from '../index.ts';

const runc = '/usr/sbin/runc';
const skip = missing('ctr', 'crun', 'script') ?? (existsSync(runc) ? false : `needs ${runc}`);

t.setTimeout(150_000);
t.test('containers of other OCI runtimes', { skip, timeout: 140_000 }, async (t) => {
  const dir = scratchDirectory();
  const namespace = scratchNamespace('x');
  const config = path.join(dir, 'config.toml');
  writeFileSync(config, `[binaries]\nelsewhere = "${runc}"\nhere = ""\n`);
  const daemon = gantryd(path.join(dir, 'g'), ['--config', config]);
  await daemon.start();
  writeFileSync(path.join(dir, 'box.tar'), ociArchive());
  const call = (...args: string[]) => ctr(daemon, namespace, args, { timeoutMs: 60_000 });
  const onTerminal = (...args: string[]) =>
    runOnTerminal('ctr', ['-a', daemon.address, '-n', namespace, ...args], { timeoutMs: 60_000 });
  t.equal((await call('images', 'import', path.join(dir, 'box.tar'))).code, 0);
  const statusOf = async (id: string): Promise<string | undefined> =>
    new RegExp(`^${id}\\s+\\d+\\s+(\\w+)`, 'm').exec((await call('tasks', 'ls')).stdout)?.[1];
  const bundleOf = (id: string): string => path.join(daemon.state, 'shims', namespace, id);
  const stateRoot = path.join('/run/containerd/runc', namespace);
  const nothingLeft = () =>
    until(
      'nothing to be left of the containers',
      () => {
        const left = [...processesWith([`${namespace}/`]), ...mountsWith([`/${namespace}/`])];
        return left.length === 0 && !existsSync(path.dirname(bundleOf('x'))) && !existsSync(stateRoot);
      },
      30_000,
    );

  for (const [title, binary] of [
    ['runc', runc],
    ['gantry-runtime', path.join(checkout, 'runtime/bin/gantry-runtime.cjs')],
    ['a name of the configuration', 'elsewhere'],
  ] as const) {
    await t.test(title, async (t) => {
      const by = ['--runc-binary', binary];
      const once = await call('run', '--rm', ...by, imageName, 'once', 'sh', '-c', 'echo out; echo err >&2; exit 7');
      t.same([once.code, once.stdout, once.stderr], [7, 'out\n', 'err\n']);
      t.match((await onTerminal('run', '--rm', '-t', ...by, imageName, 'tty', 'tty')).stdout, /\/dev\/pts\/0/);
      await call('run', '-d', ...by, '--memory-limit', '20000000', imageName, 'long', 'sleep', '1000');
      t.ok(existsSync(path.join(stateRoot, 'long')), 'the other runtime has it');
      const exec = await call('tasks', 'exec', '--exec-id', 'x', 'long', 'sh', '-c', 'echo in; exit 3');
      t.same([exec.code, exec.stdout], [3, 'in\n']);
      t.match((await onTerminal('tasks', 'exec', '-t', '--exec-id', 'y', 'long', 'tty')).stdout, /\/dev\/pts\/0/);
      t.match((await call('tasks', 'exec', '--exec-id', 'z', 'long', 'no-such-program')).stderr, /no-such-program/);
      await call('tasks', 'pause', 'long');
      t.equal(await statusOf('long'), 'PAUSED');
      await call('tasks', 'resume', 'long');
      t.match((await call('tasks', 'metrics', 'long')).stdout, /memory\.usage_in_bytes|memory\.limit/);
      t.match((await call('tasks', 'ps', 'long')).stdout, /^\d+/m);
      await daemon.kill();
      await daemon.start();
      await until('it to be found again', async () => (await statusOf('long')) === 'RUNNING');
      await call('tasks', 'kill', '--signal', 'KILL', 'long');
      await until('it to have ended', async () => (await statusOf('long')) === 'STOPPED');
      t.equal((await call('tasks', 'rm', 'long')).code, 0);
      await call('containers', 'rm', 'long');
      const big = ['sh', '-c', 'tail /dev/zero'];
      const oom = await call('run', '--rm', ...by, '--memory-limit', '8000000', imageName, 'big', ...big);
      t.equal(oom.code, 137);
      const bad = await call('run', '--rm', ...by, imageName, 'bad', 'no-such-program');
      t.match(bad.stderr, /OCI runtime create failed: .*no-such-program/);
      await nothingLeft();
    });
  }

  await t.test('a shim that is killed', async (t) => {
    await call('run', '-d', '--runc-binary', runc, imageName, 'dies', 'sleep', '1000');
    process.kill(Number(readFileSync(path.join(bundleOf('dies'), 'shim.pid'), 'utf8').split(' ')[0]), 'SIGKILL');
    await until('it to be buried', async () => (await statusOf('dies')) === 'STOPPED', 30_000);
    t.match((await call('tasks', 'rm', 'dies')).stderr, /exit code 137/);
    await call('containers', 'rm', 'dies');
    await nothingLeft();
  });

  await t.test('names', async (t) => {
    const own = await call('run', '--rm', '--runc-binary', 'here', imageName, 'own', 'echo', 'ours');
    t.equal(own.stdout, 'ours\n', 'our own by a name of the configuration');
    const absent = await call('run', '--rm', '--runc-binary', '/no/such/runtime', imageName, 'absent', 'true');
    t.match(absent.stderr, /binary_name "\/no\/such\/runtime": no such program/);
    const found = await call('run', '--rm', '--runc-binary', 'crun', imageName, 'found', 'echo', 'crun');
    const refuses = /cgroups in hybrid mode not supported/.test(found.stderr);
    t.ok(found.stdout === 'crun\n' || refuses, `crun is found on PATH: ${found.stderr}`);
    await nothingLeft();
  });

  await daemon.stop();
  removeEmptyGroups(namespace);
  t.same(leaks(hostState(), [dir, namespace]), [], 'nothing is left');
  removeScratch(dir);
});
