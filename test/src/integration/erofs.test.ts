/** Containers on layers that are EROFS images: what they write, what becomes of it, a gantryd that dies, runtimes of others, garbage. */
import t from 'tap';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  ctr,
  erofsMissingHere,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  removeScratch,
  run,
  scratchDirectory,
  scratchNamespace,
  until,
} from '../index.ts';
import type { CommandResult } from '../index.ts';

const skip = missing('ctr', 'busybox') ?? (await erofsMissingHere()) ?? false;
const skipForeign = missing('runc', 'containerd-shim-runc-v2') ?? false;
t.setTimeout(120_000);

/** On a busy machine. */
const patienceMs = 60_000;

t.test('containers on erofs', { skip, timeout: 110_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('e');
  const daemon = gantryd(dir);
  t.teardown(() => (daemon.pid === 0 ? undefined : daemon.kill()));
  await daemon.start();
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  const call = (...words: string[]): Promise<CommandResult> => ctr(daemon, namespace, words);
  const onErofs = (...words: string[]): Promise<CommandResult> => call('run', '--snapshotter', 'erofs', ...words);
  const trees = path.join(daemon.root, 'snapshots', 'erofs', 'snapshots');
  const mounts = (): string[] =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(trees));
  const images = (): string[] =>
    readdirSync(trees, { recursive: true })
      .map(String)
      .filter((file) => file.endsWith('layer.erofs'));

  t.equal((await call('images', 'import', '--snapshotter', 'erofs', archive)).code, 0);
  t.equal(images().length, 1, 'a layer is a file');
  const script = 'echo new > /etc/new; rm /etc/group; ln -sf new /etc/link; cat /etc/new';
  t.equal((await onErofs(imageName, 'writer', 'sh', '-c', script)).stdout, 'new\n');

  // What was written becomes a layer; the container's own snapshot has the container's name.
  const snapshots = ['snapshots', '--snapshotter', 'erofs'];
  t.match((await call(...snapshots, 'usage', 'writer')).stdout, /writer\s+\d+\.\d KiB\s+5/);
  t.equal((await call(...snapshots, 'commit', 'written', 'writer')).code, 0);
  t.equal(images().length, 2);
  t.match((await call(...snapshots, 'info', 'written')).stdout, /"Kind": "Committed"/);
  t.equal((await call('containers', 'rm', '--keep-snapshot', 'writer')).code, 0);
  t.equal((await call(...snapshots, 'prepare', 'again', 'written')).code, 0);
  const again = await onErofs('--rm', '--snapshotter-label', 'a=b', imageName, 'plain', 'ls', '/etc');
  t.match(again.stdout, /group/, 'the image is what it was');

  await t.test('runtimes of others have it mounted for them', { skip: skipForeign }, async (t) => {
    const shim = (await run('which', ['containerd-shim-runc-v2'])).stdout.trim();
    t.equal((await onErofs('--rm', '--runtime', shim, imageName, 'foreign', 'cat', '/etc/group')).code, 0);
    t.equal((await onErofs('--rm', '--runc-binary', 'runc', imageName, 'runc', 'echo', 'hello')).stdout, 'hello\n');
  });

  await t.test('a container goes on when gantryd is killed, and its layers are found again', async (t) => {
    t.equal((await onErofs('-d', imageName, 'long', 'sleep', '1000')).code, 0);
    const mounted = mounts();
    await daemon.kill();
    t.same(mounts(), mounted, 'what containers stand on stays mounted');
    await daemon.start();
    const exec = ['tasks', 'exec', '--exec-id', 'e', 'long', 'cat', '/etc/passwd'];
    t.match((await call(...exec)).stdout, /^root:/);
    t.equal((await onErofs('--rm', imageName, 'other', 'echo', 'again')).stdout, 'again\n');
    t.equal(mounts().length, mounted.length, 'and mounted once');
    t.equal((await call('tasks', 'rm', '-f', 'long')).code, 0);
    t.equal((await call('containers', 'rm', 'long')).code, 0);
  });

  await t.test('a kill amid a commit leaves the snapshot as it was', async (t) => {
    t.equal((await onErofs(imageName, 'half', 'sh', '-c', 'echo half > /etc/half')).code, 0);
    await daemon.stop();
    await daemon.start({ GANTRY_FAILPOINTS: 'snapshot.commit.after-freeze=kill' });
    const killed = await call(...snapshots, 'commit', 'whole', 'half');
    t.not(killed.code, 0);
    await daemon.ended();
    await daemon.start();
    t.match((await call(...snapshots, 'info', 'half')).stdout, /"Kind": "Active"/);
    t.equal((await call(...snapshots, 'commit', 'whole', 'half')).code, 0);
    t.equal((await call('containers', 'rm', '--keep-snapshot', 'half')).code, 0);
  });

  for (const key of ['again', 'whole', 'written']) t.equal((await call(...snapshots, 'rm', key)).code, 0, key);
  t.equal((await call('images', 'rm', '--sync', imageName)).code, 0);
  await until('the layers to go', () => mounts().length === 0 && images().length === 0, patienceMs);
  await daemon.stop();
  // runc leaves the namespace's empty cgroup directory.
  await run('sh', ['-c', `rmdir /sys/fs/cgroup/*/${namespace} 2>/dev/null; true`]);
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
