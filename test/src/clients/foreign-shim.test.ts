/**
 * Shims that are not ours below gantryd: Debian's containerd-shim-runc-v2 with runc, by its path, by a name that the
 * configuration gives it, and through a shim that announces itself as the later ones do.
 */
import t from 'tap';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  ctr,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  mountsWith,
  ociArchive,
  processesWith,
  removeEmpty,
  removeEmptyGroups,
} from '../index.ts';
import { removeScratch, runOnTerminal, scratchDirectory, scratchNamespace, until } from '../index.ts';

const stockShim = '/usr/bin/containerd-shim-runc-v2';
const skip = missing('ctr', 'runc', 'script') ?? (existsSync(stockShim) ? false : `needs ${stockShim}`);

/** Starts the stock shim, and tells where it listens as containerd's shims do since 1.7; the shim has version 2 only. */
const announcing = `#!/bin/sh
for last; do :; done
if [ "$last" != start ]; then exec ${stockShim} "$@"; fi
address=$(${stockShim} "$@") || exit 1
printf '{"version":3,"address":"%s","protocol":"ttrpc"}' "$address"
`;

t.setTimeout(120_000);
t.test('containers in shims that are not ours', { skip, timeout: 110_000 }, async (t) => {
  const dir = scratchDirectory();
  const namespace = scratchNamespace('f');
  // The root of a container in a user namespace gets at its bundle as anybody else would.
  chmodSync(dir, 0o711);
  const bin = path.join(dir, 'bin');
  mkdirSync(bin);
  writeFileSync(path.join(bin, 'containerd-shim-announcing-v3'), announcing, { mode: 0o755 });
  writeFileSync(path.join(bin, 'containerd-shim-broken-v1'), '#!/bin/sh\necho it broke >&2\nexit 3\n', { mode: 0o755 });
  writeFileSync(path.join(bin, 'containerd-shim-silent-v1'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
  const config = path.join(dir, 'config.toml');
  writeFileSync(config, `[runtimes]\n"io.containerd.runc.v2" = "containerd-shim-runc-v2"\n`);
  const daemon = gantryd(path.join(dir, 'g'), ['--config', config]);
  const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}` };
  const fifos = hostState();
  await daemon.start(env);
  writeFileSync(path.join(dir, 'box.tar'), ociArchive());
  const call = (...args: string[]) => ctr(daemon, namespace, args, { timeoutMs: 60_000 });
  t.equal((await call('images', 'import', path.join(dir, 'box.tar'))).code, 0);
  const statusOf = async (id: string): Promise<string | undefined> =>
    new RegExp(`^${id}\\s+\\d+\\s+(\\w+)`, 'm').exec((await call('tasks', 'ls')).stdout)?.[1];
  const bundleOf = (id: string): string => path.join(daemon.state, 'shims', namespace, id);
  const shimOf = (id: string): number =>
    Number(readFileSync(path.join(bundleOf(id), 'shim.pid'), 'utf8').split(' ')[0]);
  const nothingLeft = () =>
    until(
      'nothing to be left of the containers',
      () => {
        const left = [...processesWith([namespace]), ...mountsWith([`/${namespace}/`])];
        return left.length === 0 && !existsSync(path.join(daemon.state, 'shims', namespace));
      },
      30_000,
    );

  for (const runtime of [stockShim, 'io.containerd.announcing.v3', 'io.containerd.runc.v2']) {
    const by = ['--runtime', runtime];
    const once = await call('run', '--rm', ...by, imageName, 'once', 'sh', '-c', 'echo out; echo err >&2; exit 7');
    t.same([once.code, once.stdout, once.stderr], [7, 'out\n', 'err\n'], runtime);
    const bad = await call('run', '--rm', ...by, imageName, 'bad', 'no-such-program');
    t.match(bad.stderr, /runc create failed: .*no-such-program/, 'it is runc that says so');
    await nothingLeft();
  }

  const ids = ['--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536', '--runtime', 'io.containerd.runc.v2'];
  const mapped = await call('run', '--rm', ...ids, imageName, 'mapped', 'stat', '-c', '%u', '/');
  t.same([mapped.stdout, mapped.stderr], ['0\n', ''], 'its root, which is not ours, gets at its root file system');
  await nothingLeft();

  const by = ['--runtime', 'io.containerd.announcing.v3'];
  const words = ['-a', daemon.address, '-n', namespace, 'run', '--rm', '-t', ...by, imageName, 'tty', 'tty'];
  t.match((await runOnTerminal('ctr', words)).stdout, /\/dev\/pts\/0/);

  for (const id of ['one', 'two', 'dies']) await call('run', '-d', ...by, imageName, id, 'sleep', '1000');
  const group = ['--annotation', 'io.containerd.runc.v2.group=pod'];
  for (const id of ['pod-a', 'pod-b']) await call('run', '-d', ...by, ...group, imageName, id, 'sleep', '1000');
  t.equal(shimOf('pod-a'), shimOf('pod-b'), 'a pod has one shim');
  t.match(readFileSync(`/proc/${shimOf('one')}/cmdline`, 'latin1'), /containerd-shim-runc-v2/);
  const exec = await call('tasks', 'exec', '--exec-id', 'x', 'one', 'sh', '-c', 'echo in; exit 3');
  t.same([exec.code, exec.stdout], [3, 'in\n']);
  await call('tasks', 'pause', 'one');
  t.equal(await statusOf('one'), 'PAUSED');
  await call('tasks', 'resume', 'one');
  t.match((await call('tasks', 'metrics', 'one')).stdout, /memory/);
  t.match((await call('tasks', 'ps', 'one')).stdout, /^\d+/m);

  await daemon.kill();
  process.kill(shimOf('two'), 'SIGKILL');
  await daemon.start(env);
  await until('all shims to be found again', async () => (await statusOf('one')) === 'RUNNING');
  await until('a shim that died meanwhile to be buried', async () => (await statusOf('two')) === 'STOPPED', 30_000);
  t.equal((await call('tasks', 'exec', '--exec-id', 'y', 'one', 'echo', 'again')).stdout, 'again\n');
  process.kill(shimOf('dies'), 'SIGKILL');
  await until('a shim that dies to be buried', async () => (await statusOf('dies')) === 'STOPPED', 30_000);
  t.equal((await call('tasks', 'rm', '-f', 'pod-a')).code, 0);
  const neighbour = await call('tasks', 'exec', '--exec-id', 'z', 'pod-b', 'echo', 'on');
  t.equal(neighbour.stdout, 'on\n', 'the other container of the pod runs on');
  for (const id of ['one', 'two', 'dies', 'pod-b']) await call('tasks', 'rm', '-f', id);
  for (const id of ['one', 'two', 'dies', 'pod-a', 'pod-b']) await call('containers', 'rm', id);
  await nothingLeft();

  for (const [name, expected] of [
    ['broken', /failed to start shim: containerd-shim-broken-v1 start failed with 3: it broke/],
    ['silent', /failed to start shim: the shim printed no address/],
    ['absent', /binary not installed "containerd-shim-absent-v1"/],
  ] as const) {
    const failed = await call('run', '--rm', '--runtime', `io.containerd.${name}.v1`, imageName, name, 'true');
    t.match(failed.stderr, expected, name);
  }
  await nothingLeft();

  await daemon.stop();
  removeEmptyGroups(namespace);
  // A stock shim leaves its directory of states.
  const states = path.join('/run/containerd/runc', namespace);
  if (existsSync(states)) removeEmpty(states);
  t.same(
    leaks(fifos, [dir, namespace]).filter((line) => !line.includes('/run/containerd/fifo')),
    [],
    'nothing is left',
  );
  removeScratch(dir);
});
