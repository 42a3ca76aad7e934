/** CVE-2019-5736: nobody can write to the node binary by way of a process that serves a container. */
import t from 'tap';
import { createHash } from 'node:crypto';
import { openSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
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
} from '../index.ts';

const skip = missing('ctr') ?? false;

t.setTimeout(90_000);
t.test('the node binary behind a shim is out of reach', { skip, timeout: 60_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace();
  const digest = (): string => createHash('sha256').update(readFileSync(process.execPath)).digest('hex');
  const original = digest();
  const daemon = gantryd(dir);
  await daemon.start();
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  await ctr(daemon, namespace, ['images', 'import', archive]);
  await ctr(daemon, namespace, ['run', '-d', imageName, 'c', 'sleep', '1000']);
  const { stdout } = await ctr(daemon, namespace, ['tasks', 'ls']);
  const init = Number(/^c\s+(\d+)/m.exec(stdout)?.[1]);
  const shim = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${init}/status`, 'utf8'))?.[1]);

  // The test has every privilege of the host, which is more than any container has.
  t.throws(() => openSync(`/proc/${shim}/exe`, 'r+'), { code: 'EROFS' }, 'the shim runs from a sealed view');

  // A program that is a link to whatever entered the container, tried by exec as by an image.
  for (const program of ['/proc/self/exe', '/proc/1/exe'])
    await ctr(daemon, namespace, ['tasks', 'exec', '--exec-id', 'x', 'c', program, '-e', '0']);
  const planted = await ctr(daemon, namespace, ['run', '--rm', imageName, 'd', '/proc/self/exe', '-e', '0']);
  t.not(planted.code, 0, planted.stdout);
  t.equal(digest(), original, 'the binary is what it was');

  // No descriptor of the supervisor's or the client's is in the container or in the shim.
  const links = (pid: number): string[] =>
    readdirSync(`/proc/${pid}/fd`)
      .map((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          return '';
        }
      })
      .filter((link) => link.startsWith('/') && !link.startsWith('/dev/') && !link.startsWith('/run/containerd/fifo'));
  t.same(
    links(shim).filter((link) => !link.startsWith(daemon.state)),
    [],
    'the shim holds its own files only',
  );
  t.same(links(init), [], 'the container holds its standard streams only');
  t.equal(readdirSync(`/proc/${init}/fd`).length, 3);

  await ctr(daemon, namespace, ['tasks', 'rm', '-f', 'c']);
  await ctr(daemon, namespace, ['containers', 'rm', 'c']);
  await daemon.stop();
  t.same(leaks(before, [dir, namespace]), []);
  removeScratch(dir);
});
