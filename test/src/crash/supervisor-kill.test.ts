/** gantryd dies by SIGKILL with containers running and others being started: nothing is lost, nothing is left. */
import t from 'tap';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  ctr,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  processesWith,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  until,
} from '../index.ts';
import type { DaemonProcess } from '../index.ts';

const skip = missing('ctr') ?? false;
const running = 20;

/** Task id → pid and status, as ctr lists them. */
async function tasks(daemon: DaemonProcess, namespace: string): Promise<Map<string, { pid: number; status: string }>> {
  const { code, stdout, stderr } = await ctr(daemon, namespace, ['tasks', 'ls']);
  if (code !== 0) throw new Error(`ctr tasks ls: ${stderr}`);
  const rows = stdout.trim().split('\n').slice(1);
  return new Map(
    rows.map((row) => {
      const [id = '', pid = '', status = ''] = row.split(/\s+/);
      return [id, { pid: Number(pid), status }] as const;
    }),
  );
}

async function removeEverything(daemon: DaemonProcess, namespace: string): Promise<void> {
  for (const id of (await tasks(daemon, namespace)).keys()) await ctr(daemon, namespace, ['tasks', 'rm', '-f', id]);
  const { stdout } = await ctr(daemon, namespace, ['containers', 'ls', '-q']);
  for (const id of stdout.trim().split('\n').filter(Boolean)) await ctr(daemon, namespace, ['containers', 'rm', id]);
  const images = (await ctr(daemon, namespace, ['images', 'ls', '-q'])).stdout.trim().split('\n').filter(Boolean);
  if (images.length > 0) await ctr(daemon, namespace, ['images', 'rm', '--sync', ...images]);
  // A run that was cut off leaves its snapshot to the client's lease; the client is gone, so the operator removes it.
  const rest = (await ctr(daemon, namespace, ['snapshots', 'ls'])).stdout.trim().split('\n').slice(1);
  for (const row of rest.toReversed()) await ctr(daemon, namespace, ['snapshots', 'rm', row.split(/\s+/)[0] ?? '']);
}

t.setTimeout(300_000);
t.test('kill -9 of gantryd with 20 containers running and 20 being started', { skip, timeout: 280_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace();
  const daemon = gantryd(dir);
  await daemon.start();
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  t.equal((await ctr(daemon, namespace, ['images', 'import', archive])).code, 0);

  for (let i = 0; i < running; i += 1) {
    const started = await ctr(daemon, namespace, ['run', '-d', imageName, `c${i}`, 'sleep', '10000']);
    t.equal(started.code, 0, started.stderr);
  }
  // One that will end while nobody watches.
  await ctr(daemon, namespace, ['run', '-d', imageName, 'ends', 'sh', '-c', 'sleep 2; exit 42']);
  const earlier = await tasks(daemon, namespace);
  t.equal(earlier.size, running + 1);

  const starts = Array.from({ length: 20 }, (_, i) =>
    ctr(daemon, namespace, ['run', '-d', imageName, `late${i}`, 'sleep', '10000']).catch(() => undefined),
  );
  await until('some of the new containers to exist', async () => (await tasks(daemon, namespace)).size > running + 4);
  await daemon.kill();
  await Promise.all(starts);
  const diedAt = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 2500));

  await daemon.start();
  const later = await until('every task that ran to be known again', async () => {
    const now = await tasks(daemon, namespace);
    return [...earlier.keys()].every((id) => now.has(id)) && ![...now.values()].some((v) => v.status === 'UNKNOWN')
      ? now
      : undefined;
  });
  for (const [id, { pid }] of earlier) {
    if (id === 'ends') continue;
    t.same(later.get(id), { pid, status: 'RUNNING' }, `${id} still runs with the same pid`);
  }
  t.equal(later.get('ends')?.status, 'STOPPED', 'the exit that happened meanwhile is known');
  for (const [id, { status }] of later)
    if (id.startsWith('late')) t.match(status, /^(RUNNING|CREATED|STOPPED)$/, `${id} is whole (${status})`);

  const exec = await ctr(daemon, namespace, ['tasks', 'exec', '--exec-id', 'after', 'c3', 'echo', 'still here']);
  t.same([exec.code, exec.stdout], [0, 'still here\n'], 'exec works in a container of before');

  const removed = await ctr(daemon, namespace, ['tasks', 'rm', 'ends']);
  t.match(removed.stderr, /exit code 42\b/, 'its exit code was kept');
  t.ok(Date.now() - diedAt < 60_000);

  // A container record whose task never came to be can be removed and made again.
  await removeEverything(daemon, namespace);
  const again = await ctr(daemon, namespace, ['images', 'import', archive]);
  t.equal(again.code, 0, again.stderr);
  const fresh = await ctr(daemon, namespace, ['run', '--rm', imageName, 'late0', 'echo', 'again']);
  t.equal(fresh.stdout, 'again\n', fresh.stderr);
  await removeEverything(daemon, namespace);

  t.same((await ctr(daemon, namespace, ['containers', 'ls', '-q'])).stdout, '');
  t.same((await ctr(daemon, namespace, ['content', 'ls', '-q'])).stdout, '', 'no blob is left');
  t.same(listOrEmpty(path.join(daemon.state, 'shims', namespace)), [], 'no bundle is left');
  t.same(listOrEmpty(path.join(daemon.state, 's')), [], 'no shim socket is left');
  await daemon.stop();
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  t.same(processesWith([namespace]), []);
  removeScratch(dir);
});

function listOrEmpty(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
