/**
 * Snapshotters in other processes. A stock containerd and a gantryd have the same gantryd as their proxy plugin, and the same
 * commands give the same; a gantryd has a stock containerd as its own.
 */
import t from 'tap';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  ctr,
  erofsMissingHere,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  namespaceAdder,
  normalize,
  ociArchive,
  removeScratch,
  run,
  scratchDirectory,
  scratchNamespace,
  stockContainerd,
  until,
} from '../index.ts';
import type { CommandResult, DaemonProcess, Side } from '../index.ts';

const skip = missing('ctr', 'containerd', 'busybox') ?? false;
const skipErofs = missing('ctr', 'containerd', 'busybox') ?? (await erofsMissingHere()) ?? false;

t.setTimeout(200_000);

/** On a busy machine. */
const patienceMs = 60_000;

/** Who is behind another collects no garbage: it does not know what the other one needs. */
const never = ['schedule_delay = "1000h"', 'startup_delay = "1000h"'];

/** The lines of a listing without its head. */
const rows = (text: string): string[] => text.trim().split('\n').slice(1).filter(Boolean);

function front(dir: string, address: string, snapshotter: string): DaemonProcess & { root: string } {
  const config = path.join(dir, 'far.toml');
  mkdirSync(dir, { recursive: true });
  const plugin = [
    '[proxy_plugins.far]',
    'type = "snapshot"',
    `address = "${address}"`,
    `snapshotter = "${snapshotter}"`,
  ];
  writeFileSync(config, ['[shim]', 'spares = 0', ...plugin, ''].join('\n'));
  return gantryd(dir, ['--config', config]);
}

t.test('the same as a stock containerd with the same proxy plugin', { skip: skipErofs, timeout: 90_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const quiet = path.join(dir, 'quiet.toml');
  writeFileSync(quiet, ['[shim]', 'spares = 0', '[gc]', 'mutation_threshold = 0', ...never, ''].join('\n'));
  const back = gantryd(path.join(dir, 'g'), ['--config', quiet]);
  await back.start();
  const a = path.join(dir, 'a');
  const b = path.join(dir, 'b');
  const namespace = scratchNamespace('a');
  const adder = await namespaceAdder(path.join(dir, 'adder.sock'), back.address, namespace);
  const plugin = ['[proxy_plugins.erofs]', '  type = "snapshot"', `  address = "${adder.address}"`];
  const stock: Side = { daemon: stockContainerd(a, undefined, plugin), namespace, dir: a };
  const ours: Side = { daemon: front(b, back.address, 'erofs'), namespace: scratchNamespace('b'), dir: b };
  await Promise.all([stock.daemon.start(), ours.daemon.start()]);
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());

  /** The command on one side; FAR is what the plugin is called there. */
  const on = async (side: Side, words: readonly string[]): Promise<CommandResult> => {
    const name = side === stock ? 'erofs' : 'far';
    const { code, stdout, stderr } = await ctr(
      side.daemon,
      side.namespace,
      words.map((word) => word.replace('FAR', name)),
    );
    const clean = (text: string): string =>
      normalize(text, side)
        .replace(/^(a=b),(\S+)$/m, '$2,$1') // ctr prints labels in no order
        .replaceAll(/\bNAMESPACE\/\d+\//g, 'NAMESPACE/N/')
        .replaceAll(/snapshot(?:ter)?\.(?:far|erofs)\b/g, 'snapshot.FAR');
    return { code, stdout: clean(stdout), stderr: clean(stderr) };
  };
  const same = async (...words: string[]): Promise<CommandResult> => {
    const expected = await on(stock, words);
    const found = await on(ours, words);
    t.same(found, expected, `ctr ${words.join(' ')}`);
    return found;
  };
  const far = ['snapshots', '--snapshotter', 'FAR'];

  await same('images', 'import', '--snapshotter', 'FAR', archive);
  const listed = await same(...far, 'ls');
  const chain = /sha256:\w{64}/.exec(listed.stdout)?.[0] ?? '';
  t.not(chain, '', 'the image is unpacked there');
  await same(...far, 'info', chain);
  await same(...far, 'usage');
  await same(...far, 'prepare', 'k1', chain);
  await same(...far, 'prepare', 'k1', chain);
  await same(...far, 'prepare', 'k2', 'no-such-parent');
  await same(...far, 'mounts', '/mnt', 'nothing');
  await same(...far, 'label', 'k1', 'a=b');
  await same(...far, 'info', 'k1');
  await same(...far, 'commit', 'c1', 'k1');
  await same(...far, 'view', 'v1', 'c1');
  await same(...far, 'ls');
  await same(...far, 'tree');
  await same(...far, 'rm', 'c1');
  await same(...far, 'rm', 'v1', 'c1');
  await same('run', '--rm', '--snapshotter', 'FAR', imageName, 'x', 'sh', '-c', 'echo new > /etc/new; cat /etc/new');
  const plugins = (await on(ours, ['plugins', 'ls', '-d', 'id==far'])).stdout;
  t.match(plugins, /far/);
  t.match(plugins, /address/);

  t.equal(rows((await ctr(back, ours.namespace, ['snapshots', '--snapshotter', 'erofs', 'ls'])).stdout).length, 1);
  await same('images', 'rm', '--sync', imageName);
  for (const side of [stock, ours]) {
    await until(
      'garbage to go from the other process',
      async () => {
        const { stdout } = await ctr(back, side.namespace, ['snapshots', '--snapshotter', 'erofs', 'ls']);
        return rows(stdout).length === 0;
      },
      patienceMs,
    );
  }
  await Promise.all([stock.daemon.stop(), ours.daemon.stop()]);
  adder.stop();
  await back.stop();
  t.same(leaks(before, [b, path.join(dir, 'g'), ours.namespace]), [], 'nothing is left on the host');
  await run('sh', ['-c', `rmdir /sys/fs/cgroup/*/${stock.namespace} 2>/dev/null; true`]);
  removeScratch(dir);
});

t.test('a stock containerd behind gantryd; it may be away', { skip, timeout: 90_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('p');
  const back = stockContainerd(path.join(dir, 's'), undefined, never);
  const daemon = front(path.join(dir, 'g'), back.address, 'native');
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  const call = async (...words: string[]): Promise<CommandResult> => ctr(daemon, namespace, words);
  const there = async (): Promise<string[]> =>
    rows((await ctr(back, namespace, ['snapshots', '--snapshotter', 'native', 'ls'])).stdout);

  await daemon.start();
  const away = await call('snapshots', '--snapshotter', 'far', 'prepare', 'k');
  t.match([away.code, away.stderr], [1, /snapshotter far at .*s\/c\.sock: connect ENOENT/], 'started without it');
  await back.start();
  const imported = await until(
    'the connection',
    async () => {
      const result = await call('images', 'import', '--snapshotter', 'far', archive);
      return result.code === 0 && result;
    },
    patienceMs,
  );
  t.match(imported.stdout, /unpacking/);
  t.equal((await call('run', '--rm', '--snapshotter', 'far', imageName, 'x', 'echo', 'hello')).stdout, 'hello\n');
  t.match(
    await there(),
    [new RegExp(`^${namespace}/\\d+/sha256:\\w{64} +Committed`)],
    'named as containerd names them',
  );

  // A crash between the other process's answer and our record: what is there goes with the next start.
  await ctr(back, namespace, ['snapshots', '--snapshotter', 'native', 'prepare', `${namespace}/1/left-over`]);
  await ctr(back, namespace, ['snapshots', '--snapshotter', 'native', 'prepare', 'of-somebody-else']);
  t.equal((await there()).length, 3);
  await daemon.kill();
  await daemon.start();
  await until('the left-over to go', async () => !(await there()).join().includes('left-over'), patienceMs);
  t.equal((await there()).length, 2, 'what is somebody else’s stays');
  t.equal((await call('run', '--rm', '--snapshotter', 'far', imageName, 'y', 'echo', 'again')).stdout, 'again\n');
  await call('images', 'rm', '--sync', imageName);
  await until('garbage to go from the other process', async () => (await there()).length === 1, patienceMs);
  await daemon.stop();
  await back.stop();
  t.same(leaks(before, [path.join(dir, 'g'), namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
