/** A shim dies by SIGKILL: its task is reported stopped, its processes are gone, others are untouched. */
import t from 'tap';
import { readFileSync, writeFileSync } from 'node:fs';
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
  until,
} from '../index.ts';

const skip = missing('ctr') ?? false;

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

t.setTimeout(120_000);
for (const away of [false, true]) {
  const when = away ? 'while gantryd is away' : 'while gantryd watches';
  t.test(`kill -9 of a shim ${when}`, { skip, timeout: 60_000 }, async (t) => {
    const before = hostState();
    const dir = scratchDirectory();
    const namespace = scratchNamespace();
    const daemon = gantryd(dir);
    await daemon.start();
    const archive = path.join(dir, 'box.tar');
    writeFileSync(archive, ociArchive());
    await ctr(daemon, namespace, ['images', 'import', archive]);
    for (const id of ['victim', 'other'])
      await ctr(daemon, namespace, ['run', '-d', imageName, id, 'sh', '-c', 'sleep 10000 & sleep 10000']);
    const pidOf = async (id: string) => {
      const { stdout } = await ctr(daemon, namespace, ['tasks', 'ls']);
      return Number(new RegExp(`^${id}\\s+(\\d+)`, 'm').exec(stdout)?.[1]);
    };
    const victim = await pidOf('victim');
    const other = await pidOf('other');
    const shim = parentOf(victim);
    t.not(shim, daemon.pid);
    if (away) await daemon.kill();
    process.kill(shim, 'SIGKILL');
    if (away) await daemon.start();

    await until('the task to be reported stopped', async () =>
      /^victim\s+\d+\s+STOPPED/m.test((await ctr(daemon, namespace, ['tasks', 'ls'])).stdout),
    );
    await until('its processes to be gone', () => {
      try {
        return /^State:\s+Z/m.test(readFileSync(`/proc/${victim}/status`, 'utf8'));
      } catch {
        return true;
      }
    });
    const exec = await ctr(daemon, namespace, ['tasks', 'exec', '--exec-id', 'x', 'other', 'echo', 'untouched']);
    t.equal(exec.stdout, 'untouched\n', exec.stderr);
    t.equal(await pidOf('other'), other);
    const removed = await ctr(daemon, namespace, ['tasks', 'rm', 'victim']);
    t.match(removed.stderr, /exit code 137\b/, 'its exit status is that of a kill');
    t.equal((await ctr(daemon, namespace, ['containers', 'rm', 'victim'])).code, 0);
    const again = await ctr(daemon, namespace, ['run', '--rm', imageName, 'victim', 'echo', 'again']);
    t.equal(again.stdout, 'again\n', again.stderr);
    await ctr(daemon, namespace, ['tasks', 'rm', '-f', 'other']);
    await ctr(daemon, namespace, ['containers', 'rm', 'other']);
    await daemon.stop();
    t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
    removeScratch(dir);
  });
}
