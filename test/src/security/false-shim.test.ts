/**
 * A container chooses its command line, and gantryd finds shims by theirs when it starts: a container that looks like a
 * shim must neither have anything removed nor be taken for one.
 */
import t from 'tap';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Box, imageName, missing, until } from '../index.ts';

const skip = missing('ctr') ?? false;
t.setTimeout(60_000);

t.test('a container with the command line of a shim, below another directory', { skip, timeout: 50_000 }, async (t) => {
  const box = new Box();
  await box.start();
  const canary = path.join(box.dir, 'canary');
  mkdirSync(canary);
  writeFileSync(path.join(canary, 'file'), 'untouched');
  await box.ctr(['run', '-d', imageName, 'good', 'sleep', '10000']);
  const shims = path.join(box.daemon.state, 'shims');
  const bundles = [`${shims}/../..`, `${shims}/../../canary`, `${shims}/${box.namespace}/good`, `${shims}/a/b`];
  for (const [i, bundle] of bundles.entries()) {
    const disguise = ['sh', '-c', 'sleep 10000; true', 'shim', '-bundle', bundle, '-socket', 'x'];
    // Once in a pid namespace of its own, once in the host's.
    for (const flags of [[], ['--with-ns', `pid:/proc/${process.pid}/ns/pid`]]) {
      const run = await box.ctr(['run', '-d', ...flags, imageName, `f${i}${flags.length}`, ...disguise]);
      t.equal(run.code, 0, run.stderr);
    }
  }
  const earlier = await box.tasks();
  await box.daemon.kill();
  await box.daemon.start();
  await until('every task to be known', async () =>
    [...(await box.tasks()).values()].every(({ status }) => status !== 'UNKNOWN'),
  );
  const later = await box.tasks();
  t.same(later.get('good'), earlier.get('good'), 'its neighbour runs on');
  t.same([...later.keys()], [...earlier.keys()]);
  for (const id of ['f00', 'f10', 'f20', 'f30']) t.equal(later.get(id)?.status, 'RUNNING', `${id} was let be`);
  t.ok(existsSync(path.join(canary, 'file')), 'nothing was removed');
  t.ok(existsSync(box.daemon.root));
  for (const id of later.keys()) {
    await box.ctr(['tasks', 'rm', '-f', id]);
    await box.ctr(['containers', 'rm', id]);
  }
  t.same(await box.remains(), []);
  await box.end(t);
});
