import t from 'tap';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { acquireLock } from './lock.ts';
import { formatIdentity, identify } from './shims/process-identity.ts';

async function scratch(t: { teardown(run: () => unknown): void }): Promise<string> {
  const root = await mkdtemp(path.join(tmpdir(), 'gantry-lock-'));
  t.teardown(() => rm(root, { recursive: true }));
  return root;
}

t.test('a lock that is held is refused, and can be had when it was given back', async (t) => {
  const root = await scratch(t);
  const release = await acquireLock(root);
  t.equal((await stat(path.join(root, 'gantryd.lock'))).mode & 0o777, 0o600);
  await t.rejects(acquireLock(root), { code: 'already exists', message: new RegExp(`pid ${process.pid}`) });
  t.same(await readdir(root), ['gantryd.lock'], 'a refusal leaves nothing');
  await release();
  await (
    await acquireLock(root)
  )();
  t.same(await readdir(root), []);
});

t.test('of several exactly one gets it', async (t) => {
  const root = await scratch(t);
  const results = [];
  for (let i = 0; i < 5; i += 1)
    results.push(
      await acquireLock(root).then(
        () => 'held',
        () => 'refused',
      ),
    );
  t.same(results, ['held', 'refused', 'refused', 'refused', 'refused']);
});

t.test('a lock whose holder is gone is taken', async (t) => {
  const own = identify(process.pid);
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  const stale: readonly (readonly [string, string])[] = [
    ['no such process', `4194304 1\n${bootId}`],
    ['a later process with its pid', formatIdentity({ pid: process.pid, startTime: 1n }) + bootId],
    ['an earlier boot', `${formatIdentity(own ?? { pid: 0, startTime: 0n })}00000000-0000-0000-0000-000000000000\n`],
    ['a torn file', '12'],
    ['an empty file', ''],
  ];
  for (const [name, text] of stale) {
    const root = await scratch(t);
    await writeFile(path.join(root, 'gantryd.lock'), text);
    const release = await acquireLock(root);
    await release();
    t.same(await readdir(root), [], name);
  }
});
