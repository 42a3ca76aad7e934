/** gantry-runtime in the place of runc: below Debian's containerd and its shim, and below podman and conmon. */
import t from 'tap';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import {
  ctr,
  missing,
  removeScratch,
  run,
  runOnTerminal,
  RuntimeBench,
  runtimeCommands,
  scratchDirectory,
  scratchNamespace,
  stockContainerd,
} from '../index.ts';
import type { CommandResult } from '../index.ts';

t.setTimeout(400_000);

const binary = ['--env', 'PATH=/bin', '--runc-binary', runtimeCommands.gantry];

t.test('ctr and a stock shim drive it', { skip: missing('ctr', 'containerd', 'script') ?? false }, async (t) => {
  const bench = new RuntimeBench();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('r');
  const daemon = stockContainerd(path.join(dir, 'c'));
  t.teardown(async () => {
    await daemon.stop();
    bench.remove();
    removeScratch(dir);
  });
  await daemon.start();
  const call = (...args: string[]) => ctr(daemon, namespace, args);
  const once = await call(
    'run',
    '--rm',
    '--rootfs',
    ...binary,
    bench.rootfs,
    'once',
    'sh',
    '-c',
    'echo out; echo err >&2; exit 7',
  );
  t.same([once.code, once.stdout, once.stderr], [7, 'out\n', 'err\n']);
  const bad = await call('run', '--rm', '--rootfs', ...binary, bench.rootfs, 'bad', 'no-such-program');
  t.match(bad.stderr, /OCI runtime create failed: .*"no-such-program": executable file not found in \$PATH/);
  const words = [
    '-a',
    daemon.address,
    '-n',
    namespace,
    'run',
    '--rm',
    '-t',
    '--rootfs',
    ...binary,
    bench.rootfs,
    'tty',
    'tty',
  ];
  t.match((await runOnTerminal('ctr', words)).stdout, /\/dev\/pts\/0/);

  t.equal((await call('run', '-d', '--rootfs', ...binary, bench.rootfs, 'life', 'sleep', '1000')).code, 0);
  t.match((await call('tasks', 'ls')).stdout, /^life +\d+ +RUNNING/m);
  t.same((await call('tasks', 'exec', '--exec-id', 'e', 'life', 'sh', '-c', 'echo in; exit 3')).code, 3);
  t.equal((await call('tasks', 'pause', 'life')).code, 0);
  t.match((await call('tasks', 'ls')).stdout, /^life +\d+ +PAUSED/m);
  t.equal((await call('tasks', 'resume', 'life')).code, 0);
  t.match((await call('tasks', 'metrics', 'life')).stdout, /memory/);
  t.match((await call('tasks', 'ps', 'life')).stdout, /^\d+ /m);
  t.equal((await call('tasks', 'kill', '--signal', 'SIGKILL', 'life')).code, 0);
  t.equal((await call('tasks', 'rm', '--force', 'life')).code, 0);
  t.equal((await call('containers', 'rm', 'life')).code, 0);
});

t.test('podman drives it', { skip: missing('podman', 'conmon') ?? false }, async (t) => {
  const bench = new RuntimeBench();
  const dir = scratchDirectory();
  const storage = ['--root', path.join(dir, 'root'), '--runroot', path.join(dir, 'run'), '--storage-driver', 'vfs'];
  const ways = ['--cgroup-manager', 'cgroupfs', '--events-backend', 'file', '--runtime', runtimeCommands.gantry];
  const global = [...storage, ...ways];
  mkdirSync(path.join(dir, 'root'));
  const podman = (...words: string[]): Promise<CommandResult> =>
    run('podman', [...global, ...words], { timeoutMs: 90_000 });
  t.teardown(async () => {
    await podman('rm', '--all', '--force', '--time', '0');
    await run('podman', [...global, 'unshare', 'true']).catch(() => undefined);
    bench.remove();
    removeScratch(dir);
  });
  const archive = path.join(dir, 'box.tar');
  t.equal((await run('tar', ['-C', bench.rootfs, '-cf', archive, '.'])).code, 0);
  const imported = await podman('import', archive, 'box');
  t.equal(imported.code, 0, imported.stderr);
  // Podman asks for more than a machine without CAP_SYS_RESOURCE gives.
  const options = ['--network', 'none', '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000'];
  const once = await podman('run', '--rm', ...options, 'box', 'sh', '-c', 'echo out; exit 7');
  t.same([once.code, once.stdout], [7, 'out\n'], once.stderr);
  const missingProgram = await podman('run', '--rm', ...options, 'box', '/nowhere');
  t.same(missingProgram.code, 127, 'the error text is understood');
  t.equal((await podman('run', '-d', '--name', 'life', ...options, 'box', 'sleep', '1000')).code, 0);
  t.match((await podman('ps')).stdout, / Up /);
  const inside = await podman('exec', 'life', 'sh', '-c', 'echo in; exit 3');
  t.same([inside.code, inside.stdout], [3, 'in\n']);
  t.match((await podman('exec', '-t', 'life', 'tty')).stdout, /\/dev\/pts\/0/);
  t.equal((await podman('pause', 'life')).code, 0);
  t.match((await podman('ps', '--all', '--format', '{{.Status}}')).stdout, /^Paused/);
  t.equal((await podman('unpause', 'life')).code, 0);
  t.equal((await podman('stop', '--time', '0', 'life')).code, 0);
  t.equal((await podman('start', 'life')).code, 0);
  t.equal((await podman('rm', '--force', '--time', '0', 'life')).code, 0);
  t.equal((await podman('ps', '--all', '--quiet')).stdout, '');
});
