/** Debian's containerd runs our shim: `--runtime io.containerd.gantry.v1` with containerd-shim-gantry-v1 on its PATH. */
import t from 'tap';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  checkout,
  ctr,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  processesWith,
  removeScratch,
  run,
  runOnTerminal,
  scratchDirectory,
  scratchNamespace,
  stockContainerd,
  until,
} from '../index.ts';

const skip = missing('ctr', 'containerd', 'script') ?? false;

t.setTimeout(120_000);
t.test('a stock containerd runs containers in our shim', { skip, timeout: 110_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('s');
  const bin = path.join(dir, 'bin');
  mkdirSync(bin);
  symlinkSync(
    path.join(checkout, 'shim/bin/containerd-shim-gantry-v1.js'),
    path.join(bin, 'containerd-shim-gantry-v1'),
  );
  const daemon = stockContainerd(path.join(dir, 'c'));
  const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}` };
  await daemon.start(env);
  writeFileSync(path.join(dir, 'box.tar'), ociArchive());
  const call = (...args: string[]) => ctr(daemon, namespace, args);
  t.equal((await call('images', 'import', path.join(dir, 'box.tar'))).code, 0);
  const ours = ['--runtime', 'io.containerd.gantry.v1'];

  const once = await call('run', '--rm', ...ours, imageName, 'once', 'sh', '-c', 'echo out; echo err >&2; exit 7');
  t.same([once.code, once.stdout, once.stderr], [7, 'out\n', 'err\n']);
  const words = ['-a', daemon.address, '-n', namespace, 'run', '--rm', '-t', ...ours, imageName, 'tty', 'tty'];
  t.match((await runOnTerminal('ctr', words)).stdout, /\/dev\/pts\/0/);
  const bad = await call('run', '--rm', ...ours, imageName, 'bad', 'no-such-program');
  t.match(bad.stderr, /OCI runtime create failed: .*no-such-program/);

  await call('run', '-d', ...ours, imageName, 'long', 'sleep', '1000');
  const pidOf = async (): Promise<number> => Number(/^long\s+(\d+)/m.exec((await call('tasks', 'ls')).stdout)?.[1]);
  const pid = await pidOf();
  const exec = await call('tasks', 'exec', '--exec-id', 'x', 'long', 'sh', '-c', 'echo in; exit 3');
  t.same([exec.code, exec.stdout], [3, 'in\n']);
  t.equal((await call('tasks', 'pause', 'long')).code, 0);
  t.match((await call('tasks', 'ls')).stdout, /PAUSED/);
  await call('tasks', 'resume', 'long');

  await daemon.kill();
  await daemon.start(env);
  t.equal(await pidOf(), pid, 'containerd finds our shim again after its restart');
  const after = await call('tasks', 'exec', '--exec-id', 'y', 'long', 'echo', 'again');
  t.equal(after.stdout, 'again\n', after.stderr);

  const shim = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  t.match(readFileSync(`/proc/${shim}/cmdline`, 'latin1'), /-namespace.*-id\0long/);
  process.kill(shim, 'SIGKILL');
  await until('containerd to have had our shim clean up', async () => {
    const listed = (await call('tasks', 'ls')).stdout.includes('long');
    return !listed && processesWith([`${namespace}/long`, `${bin}/containerd`]).length === 0;
  });
  await call('containers', 'rm', 'long');
  await daemon.stop();
  for (const hierarchy of [
    'cpu',
    'cpuacct',
    'cpuset',
    'memory',
    'devices',
    'freezer',
    'blkio',
    'pids',
    'systemd',
    'unified',
  ])
    await run('rmdir', [`/sys/fs/cgroup/${hierarchy}/${namespace}`]);
  // The task disappeared without a Delete, so ctr never took its fifos away.
  const [fifos, left] = [/^left over (\/run\/containerd\/fifo\/.*)$/, leaks(before, [dir, namespace])];
  for (const line of left) rmSync(fifos.exec(line)?.[1] ?? dir, { recursive: true, force: true });
  t.same(
    left.filter((line) => !fifos.test(line)),
    [],
    'nothing else is left on the host',
  );
  removeScratch(dir);
});
