/**
 * Checkpoint and restore with a criu that works: by the runtime's command line, whose images runc reads and the other way
 * round, and through gantryd with Debian's ctr. The containers count; what they count goes on without a gap. Runs in the
 * virtual machine, because criu depends on the kernel. Host network: Debian's criu cannot save a network namespace there,
 * with runc neither.
 */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { packAny, runcOptions, snapshots, tasks } from '@gantry/api';
import {
  ctr,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  outcome,
  removeScratch,
  Rpc,
  RuntimeBench,
  scratchDirectory,
  scratchNamespace,
  until,
} from '../index.ts';
import type { RuntimeName } from '../index.ts';

/** criu's kernel modules; only the virtual machine has them here. */
const modules = '/modules/criu';
const skip =
  missing('criu', 'runc', 'ctr') ?? (existsSync(modules) ? false : 'criu depends on the kernel; see test/vm');

/** A machine in software emulation needs seconds where a real one needs milliseconds. */
const slowMs = 120_000;

const counting = 'i=0; while true; do i=$((i+1)); echo $i >> /out/n; sleep 0.1; done';

t.setTimeout(slowMs * 5);

/** What a container has counted into a file. */
class Count {
  readonly #file: string;

  constructor(directory: string) {
    mkdirSync(directory, { recursive: true });
    this.#file = path.join(directory, 'n');
  }

  numbers(): number[] {
    const text = existsSync(this.#file) ? readFileSync(this.#file, 'utf8') : '';
    return text.split('\n').slice(0, -1).map(Number);
  }

  /** Resolves when more has been counted; without a gap and nothing twice, as by one process that never ended. */
  async goesOn(test: Pick<typeof t, 'same'>, what: string): Promise<void> {
    const seen = this.numbers().length;
    await until(`${what}: counting`, () => this.numbers().length > seen + 3, slowMs);
    const numbers = this.numbers();
    test.same(
      numbers.filter((number, index) => number !== index + 1),
      [],
      `${what}: ${numbers.length} numbers without a gap`,
    );
  }
}

/** What the kernel says of a process that a restore must bring back. */
function seenOf(pid: number): unknown {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const fields = ['Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp'];
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n');
  const places = mounts.map((line) => {
    const [, , , root, place, options, ...rest] = line.split(' ');
    const type = rest[rest.indexOf('-') + 1];
    // The null device that masks a file is another one's, with the options of where it comes from.
    return [place, root, root === '/null' ? '' : options, type].join(' ');
  });
  return {
    status: fields.map((name) => new RegExp(`^${name}:.*$`, 'm').exec(status)?.[0]),
    group: readFileSync(`/proc/${pid}/cgroup`, 'utf8'),
    command: readFileSync(`/proc/${pid}/cmdline`, 'latin1'),
    places: places.toSorted(),
  };
}

if (skip === false) {
  // The virtual machine has none, and ctr shows the host's to containers of the host's network.
  for (const file of ['/etc/hosts', '/etc/resolv.conf']) if (!existsSync(file)) writeFileSync(file, '');
  for (const name of readFileSync(path.join(modules, 'order'), 'utf8').trim().split('\n')) {
    spawnSync('insmod', [path.join(modules, `${name}.ko`)]);
  }
}

t.test('checkpoint and restore by the command line, beside runc', { skip, timeout: slowMs * 5 }, async (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const out = path.join(bench.dir, 'out-dir');
  const count = new Count(out);
  const images = (name: string): string => path.join(bench.dir, 'images', name);
  mkdirSync(path.join(bench.dir, 'images'));
  bench.configure(
    bench.spec(['sh', '-c', counting], (spec) => {
      spec.linux.namespaces = ['pid', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type }) as never);
      spec.mounts.push({ destination: '/out', type: 'bind', source: out, options: ['rbind'] });
      spec.mounts.push({ destination: '/made/file', type: 'bind', source: '/etc/passwd', options: ['bind', 'ro'] });
      spec.mounts.push({ destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid'] });
      const hook = (word: string) => ({ path: '/bin/sh', args: ['sh', '-c', `echo ${word} >> ${bench.dir}/hooks`] });
      spec.hooks = { prestart: [hook('begins')], poststop: [hook('ends')] };
    }),
  );
  // runc saves no container whose streams are files of the host.
  const call = (name: RuntimeName, ...words: readonly string[]): void => {
    const log = path.join(bench.dir, 'log');
    rmSync(log, { force: true });
    const [command, args] = bench.command(name, ['--log', log, ...words]);
    const { status } = spawnSync(command, args, { stdio: 'ignore', timeout: slowMs, cwd: bench.bundle });
    t.equal(status, 0, `${name} ${words.join(' ')}: ${existsSync(log) ? readFileSync(log, 'utf8') : ''}`);
  };
  const work = ['--work-path', path.join(bench.dir, 'work')];
  const pidFile = path.join(bench.dir, 'pid');
  const pid = (): number => Number(readFileSync(pidFile, 'utf8'));

  call('gantry', 'run', '-d', '--pid-file', pidFile, 'box');
  await count.goesOn(t, 'a new container');
  const before = seenOf(pid());

  call('gantry', 'checkpoint', '--image-path', images('memory'), ...work, '--pre-dump', 'box');
  await count.goesOn(t, 'after a pre-dump');
  const full = path.join(bench.dir, 'full');
  mkdirSync(full);
  spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', full]);
  const failed = bench.call('gantry', ['checkpoint', '--image-path', full, 'box'], { timeoutMs: slowMs });
  spawnSync('umount', [full]);
  t.equal(failed.code, 1);
  t.match(failed.stderr, /criu failed: .*No space left on device/, 'a full disk');
  await count.goesOn(t, 'after a checkpoint that failed');

  const parent = ['--parent-path', '../memory'];
  call('gantry', 'checkpoint', '--image-path', images('one'), ...work, ...parent, 'box');
  t.same(readdirSync(bench.stateRoot('gantry')), [], 'the container is gone');
  t.same(bench.groups(), [], 'and its control group');
  const stopped = count.numbers().length;
  call('gantry', 'restore', '-d', '--pid-file', pidFile, '--image-path', images('one'), ...work, 'box');
  await count.goesOn(t, 'restored');
  t.ok(count.numbers().length > stopped);
  t.same(seenOf(pid()), before, 'identity, mounts and control group are what they were');
  t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), bench.dir, 'nothing is mounted on the host');

  call('gantry', 'checkpoint', '--image-path', images('two'), ...work, 'box');
  call('runc', 'restore', '-d', '--pid-file', pidFile, '--image-path', images('two'), ...work, 'box');
  await count.goesOn(t, 'restored by runc');
  call('runc', 'checkpoint', '--image-path', images('three'), ...work, 'box');
  call('gantry', 'restore', '-d', '--pid-file', pidFile, '--image-path', images('three'), ...work, 'box');
  await count.goesOn(t, 'restored from runc’s checkpoint');
  call('gantry', 'delete', '--force', 'box');
  const hooks = readFileSync(path.join(bench.dir, 'hooks'), 'utf8');
  t.equal(hooks, 'begins\nends\n'.repeat(4), 'hooks are called at each beginning and end, by runc as well');
  t.same(bench.remove(), [], 'no control group is left');
});

t.test('checkpoint and restore through gantryd and ctr', { skip, timeout: slowMs * 5 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('k');
  const daemon = gantryd(dir);
  let rpc = new Rpc(daemon.address);
  /** With failpoints, or without. */
  const launch = async (failpoints = ''): Promise<void> => {
    daemon.launch({ env: { GANTRY_FAILPOINTS: failpoints } });
    await until('gantryd to answer', async () => (await ctr(daemon, namespace, ['version'])).code === 0, slowMs);
    rpc.close();
    rpc = new Rpc(daemon.address);
  };
  await launch();
  t.teardown(() => rpc.close());
  const say = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await ctr(daemon, namespace, words, { timeoutMs: slowMs });
    t.equal(code, 0, `ctr ${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  const ask = (method: string, request: object): Promise<unknown> =>
    rpc.call(tasks.TasksService, method, request, { namespace, lease: 'kept', timeoutMs: slowMs });
  const status = async (id: string): Promise<string> =>
    new RegExp(`^${id}\\s+\\d+\\s+(\\S+)`, 'm').exec(await say('tasks', 'ls'))?.[1] ?? 'none';
  const checkpoints = (): string[] => readdirSync(path.join(daemon.root, 'checkpoints'));
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  await say('images', 'import', archive);
  // What is saved is nobody's until somebody makes a task of it.
  await say('leases', 'create', '--id', 'kept');

  /** A container that counts into a file of the host. */
  const start = async (id: string, ...flags: string[]): Promise<Count> => {
    const out = path.join(dir, `out-${id}`);
    const count = new Count(out);
    const mount = ['--mount', `type=bind,src=${out},dst=/out,options=rbind:rw`];
    const script = `echo written > /etc/note; echo printed; ${counting}`;
    await say('run', '-d', '--net-host', ...flags, ...mount, imageName, id, 'sh', '-c', script);
    await count.goesOn(t, `${id} is new`);
    return count;
  };
  const end = async (id: string): Promise<void> => {
    await say('tasks', 'kill', '-s', 'SIGKILL', id);
    await until('its end', async () => (await status(id)) === 'STOPPED', slowMs);
    await say('tasks', 'rm', id);
    await say('containers', 'rm', id);
  };

  await t.test('a container runs on after its checkpoint, and another one is made of that', async (t) => {
    const count = await start('one');
    await say('containers', 'checkpoint', '--rw', '--image', '--task', 'one', 'saved:1');
    const saved = count.numbers().length;
    t.equal(await status('one'), 'RUNNING', 'ctr lets it run on');
    await count.goesOn(t, 'after its checkpoint');
    t.same(checkpoints(), [], 'no directory is left');
    await end('one');

    const from = count.numbers().length;
    await say('containers', 'restore', '--rw', '--live', 'two', 'saved:1');
    await until('counting', () => count.numbers().length > from + 3, slowMs);
    const added = count.numbers().slice(from);
    const first = added[0] ?? 0;
    t.same(
      added,
      added.map((_, index) => first + index),
      'it goes on from the checkpoint',
    );
    t.ok(first > 3 && first <= saved + 1, `${first} is next to what was saved, not to ${from}`);
    t.equal(await say('tasks', 'exec', '--exec-id', 'e', 'two', 'cat', '/etc/note'), 'written\n', 'with its files');
    t.same(checkpoints(), [], 'the unpacked checkpoint is gone');
    await end('two');
  });

  await t.test(
    'a container with a log file is stopped by its checkpoint and comes back from a directory',
    async (t) => {
      const log = path.join(dir, 'logged.log');
      const count = await start('logged', '--log-uri', `file://${log}`);
      const images = path.join(dir, 'images');
      await say('tasks', 'checkpoint', '--exit', '--image-path', images, 'logged');
      t.ok(existsSync(path.join(images, 'inventory.img')));
      await until('its end', async () => (await status('logged')) === 'STOPPED', slowMs);
      const stopped = count.numbers().length;
      await say('tasks', 'rm', 'logged');
      const options = packAny(runcOptions.Options, { criuImagePath: images });
      const rootfs = await mountsOf(rpc, namespace, 'logged');
      const it = { containerId: 'logged' };
      await ask('create', tasks.CreateTaskRequest.create({ ...it, options, rootfs, stdout: `file://${log}` }));
      t.equal(await status('logged'), 'CREATED', 'it is not restored before it is started');
      await ask('start', tasks.StartRequest.create(it));
      await count.goesOn(t, 'from a directory');
      t.ok(count.numbers().length > stopped);
      t.equal(readFileSync(log, 'utf8'), 'printed\n');
      await end('logged');
    },
  );

  await t.test('a terminal', async (t) => {
    // What looks like a flag is one of its own to `ctr containers create`.
    const script = path.join(dir, 'script');
    writeFileSync(script, 'i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done\n');
    const mount = `type=bind,src=${script},dst=/script,options=bind:ro`;
    await say('containers', 'create', '--tty', '--net-host', '--mount', mount, imageName, 'tty', 'sh', '/script');
    let text = '';
    let fd = -1;
    t.teardown(() => closeSync(fd));
    /** A fifo for the terminal's output; ctr takes it away with the task. */
    const openOutput = (): string => {
      const fifo = path.join(dir, 'tty-io', 'out');
      mkdirSync(path.dirname(fifo), { recursive: true });
      spawnSync('mkfifo', [fifo]);
      if (fd >= 0) closeSync(fd);
      fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
      return fifo;
    };
    const lines = (): number[] => {
      text += readNow(fd);
      return [...text.matchAll(/line (\d+)\r\n/g)].map(([, digits]) => Number(digits));
    };
    const create = async (fields: object): Promise<void> => {
      const rootfs = await mountsOf(rpc, namespace, 'tty');
      const it = { containerId: 'tty', terminal: true, stdout: openOutput(), rootfs };
      await ask('create', tasks.CreateTaskRequest.create({ ...it, ...fields }));
      await ask('start', tasks.StartRequest.create({ containerId: 'tty' }));
    };
    await create({});
    await until('lines', () => lines().length > 3, slowMs);
    const options = packAny(runcOptions.CheckpointOptions, { exit: true });
    const saved = (await ask('checkpoint', tasks.CheckpointTaskRequest.create({ containerId: 'tty', options }))) as {
      descriptors: readonly { mediaType: string }[];
    };
    t.same(
      saved.descriptors.map(({ mediaType }) => mediaType),
      [
        'application/vnd.containerd.container.criu.checkpoint.criu.tar',
        'application/vnd.containerd.container.checkpoint.config.v1+proto',
      ],
    );
    await until('its end', async () => (await status('tty')) === 'STOPPED', slowMs);
    await say('tasks', 'rm', 'tty');
    const last = lines().at(-1) ?? 0;
    await create({ checkpoint: saved.descriptors[0] });
    await until('lines after the restore', () => (lines().at(-1) ?? 0) > last + 2, slowMs);
    t.same(
      lines(),
      lines().map((_, index) => index + 1),
      'the terminal goes on without a gap',
    );
    await end('tty');
  });

  await t.test(
    'gantryd dies at each failpoint of a checkpoint: the container runs on, the next one succeeds',
    async (t) => {
      const count = await start('mortal');
      const request = tasks.CheckpointTaskRequest.create({ containerId: 'mortal' });
      for (const name of ['after-directory', 'after-shim', 'after-images', 'after-config']) {
        await daemon.kill();
        await launch(`checkpoint.${name}=kill`);
        t.not((await outcome(ask('checkpoint', request))).code, 0, name);
        await daemon.ended();
        await count.goesOn(t, `after a death ${name}`);
      }
      await launch();
      t.equal((await outcome(ask('checkpoint', request))).code, 0);
      await count.goesOn(t, 'after a checkpoint that succeeded');
      await end('mortal');
      t.same(checkpoints(), [], 'no directory is left');
    },
  );

  await say('leases', 'rm', 'kept');
  for (const image of (await say('images', 'ls', '-q')).trim().split('\n')) await say('images', 'rm', image);
  t.same((await outcome(ask('list', {}))).code, 0);
  await daemon.stop();
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});

/** The mounts of a container's own snapshot. */
async function mountsOf(rpc: Rpc, namespace: string, key: string): Promise<readonly object[]> {
  const request = snapshots.MountsRequest.create({ snapshotter: 'overlayfs', key });
  const { mounts } = (await rpc.call(snapshots.SnapshotsService, 'mounts', request, { namespace })) as {
    mounts: readonly object[];
  };
  return mounts;
}

function readNow(fd: number): string {
  const chunk = Buffer.alloc(64 * 1024);
  try {
    return chunk.subarray(0, readSync(fd, chunk)).toString();
  } catch {
    return '';
  }
}
