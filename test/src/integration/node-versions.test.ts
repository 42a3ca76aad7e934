/** The Node versions that gantry runs on: shims are forked, containers live, and a shim has one loop and one thread. */
import t from 'tap';
import type { Test } from 'tap';
import { statSync } from 'node:fs';
import { ApiBox, descriptorsOf, missing, nodeBinary, resourcesOf, run, until } from '../index.ts';

const WARN = 40;
t.setTimeout(600_000);

async function lifeUnder(t: Test, program: string): Promise<void> {
  const box = new ApiBox({ runner: [program] });
  await box.start();
  await box.run('c', ['sh', '-c', 'trap "exit 7" TERM; while :; do sleep 0.02; done']);
  t.equal(await box.exec('c', 'x', ['sh', '-c', 'exit 3']), 3);
  const ids = Array.from({ length: 10 }, (_, at) => `n${at}`);
  await Promise.all(ids.map((id) => box.run(id)));
  await until('the spares', () => box.spares().length === 2);

  const zygote = box.zygote();
  t.ok(zygote, 'there is a zygote');
  for (const shim of [box.shimOf('c') ?? 0, ...box.spares()]) {
    t.equal(statSync(`/proc/${shim}/exe`).ino, statSync(program).ino, 'it is this Node that was forked');
    t.equal(resourcesOf(shim).threads, 1);
    const open = descriptorsOf(shim).map((line) => line.replace(/^\d+=/, ''));
    t.equal(open.filter((target) => target === 'anon_inode:[eventpoll]').length, 1, open.join(' '));
    t.ok(open.filter((target) => target === 'anon_inode:[io_uring]').length <= 1, 'no ring but its own');
  }
  t.same(
    await Promise.all(ids.map((id) => box.exec(id, 'x', ['true']))),
    ids.map(() => 0),
  );
  await Promise.all(['c', ...ids].map((id) => box.remove(id)));
  t.same(box.logged(WARN), [], 'no warning: shims are forked, and the program is a sealed view');
  await box.end(t);
}

for (const version of ['own', '22', '24', 'latest']) {
  const cannot = missing('busybox');
  const found = version === 'own' ? { program: process.execPath } : await nodeBinary(version);
  const skip = cannot ?? ('missing' in found ? found.missing : false);
  t.test(`Node ${version}`, { skip, timeout: 120_000 }, async (t) => {
    if ('missing' in found) return;
    t.comment((await run(found.program, ['--version'])).stdout.trim());
    await lifeUnder(t, found.program);
  });
}
