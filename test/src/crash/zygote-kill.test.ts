/** The zygote is killed, or is of no use: containers do not notice, and creates go on. */
import t from 'tap';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { ApiBox, missing, outcome, until } from '../index.ts';

const skip = missing('busybox') ?? false;
t.setTimeout(180_000);
const WARN = 40;

async function zygoteOf(box: ApiBox): Promise<number> {
  return await until('a zygote', () => box.zygote());
}

/** Resolves when a killed process is not there any more. */
async function gone(box: ApiBox, pid: number): Promise<void> {
  await until('it to be gone', () => box.zygote() !== pid);
}

t.test('the zygote is killed while containers run', { skip, timeout: 60_000 }, async (t) => {
  const box = new ApiBox();
  await box.start();
  const pid = await box.run('before');
  await until('the spares', () => box.spares().length === 2);
  const first = await zygoteOf(box);
  process.kill(first, 'SIGKILL');
  // Whatever spare it may get: one of the first zygote dies with it, and the create does not fail for that.
  await box.run('at-once');
  t.equal(await box.exec('before', 'x', ['true']), 0);
  await gone(box, first);
  t.not(await zygoteOf(box), first, 'there is another');
  await until('the spares', () => box.spares().length === 2);
  await box.run('after');
  t.equal(await box.exec('after', 'x', ['true']), 0);
  t.equal((await box.tasks()).size, 3);
  t.ok(pid > 0);
  t.match(
    box
      .logged(WARN)
      .map(({ msg }) => msg)
      .filter((msg) => msg.includes('zygote')),
    ['the zygote is gone; another is started when a shim is needed'],
  );
  for (const id of ['before', 'at-once', 'after']) await box.remove(id);
  await box.end(t);
});

t.test('the zygote is killed in the middle of a create', { skip, timeout: 60_000 }, async (t) => {
  const box = new ApiBox({ config: '[shim]\nspares = 0\n' });
  await box.start();
  await box.run('first');
  t.same(box.spares(), []);
  const zygote = await zygoteOf(box);
  process.kill(zygote, 'SIGSTOP');
  const creates = ['a', 'b'].map((id) => box.run(id));
  await new Promise((resolve) => setTimeout(resolve, 300)); // nothing shows that a request lies in a socket
  process.kill(zygote, 'SIGKILL');
  await Promise.all(creates);
  t.not(await zygoteOf(box), zygote);
  for (const id of ['first', 'a', 'b']) {
    t.equal(await box.exec(id, 'x', ['true']), 0);
    await box.remove(id);
  }
  await box.end(t);
});

t.test('three zygotes die young: shims are spawned, which is said once', { skip, timeout: 90_000 }, async (t) => {
  const box = new ApiBox();
  await box.start();
  await box.run('c0');
  for (let death = 1; death <= 3; death += 1) {
    const zygote = await zygoteOf(box);
    process.kill(zygote, 'SIGKILL');
    await gone(box, zygote);
    await box.run(`c${death}`);
  }
  await box.run('c4');
  const said = box.logged(WARN).filter(({ msg }) => msg.includes('cannot be forked'));
  t.match(said, [{ msg: /are spawned instead/, reason: /^it failed 3 times, at last: .*SIGKILL/ }]);
  t.equal(said.length, 1);
  t.equal(box.zygote(), undefined);
  for (let at = 0; at <= 4; at += 1) {
    t.equal(await box.exec(`c${at}`, 'x', ['true']), 0);
    await box.remove(`c${at}`);
  }
  await box.end(t);
});

/** Makes gantryd's zygote one whose children cannot listen: as if this Node could not be forked. */
const unfit = (breaker: string): string => `
const processes = require('node:child_process');
const { spawn } = processes;
processes.spawn = (file, args, ...rest) => {
  const isZygote = args.some((word) => word.endsWith('/gantry-zygote.js'));
  return spawn(file, isZygote ? ['--require', ${JSON.stringify(breaker)}, ...args] : args, ...rest);
};
require('node:module').syncBuiltinESMExports();
`;
const broken = `
const { readlinkSync } = require('node:fs');
const { Server } = require('node:net');
const { listen } = Server.prototype;
const self = readlinkSync('/proc/self');
Server.prototype.listen = function (...given) {
  if (readlinkSync('/proc/self') !== self) throw new Error('not after a fork');
  return listen.apply(this, given);
};
`;

t.test('a Node that cannot be forked: shims are spawned, which is said once', { skip, timeout: 60_000 }, async (t) => {
  const box = new ApiBox();
  const [breaker, patch] = [path.join(box.dir, 'breaker.cjs'), path.join(box.dir, 'patch.cjs')];
  writeFileSync(breaker, broken);
  writeFileSync(patch, unfit(breaker));
  await box.start({ NODE_OPTIONS: `--require ${patch}` });
  const ids = ['a', 'b', 'c', 'd'];
  const ended = await Promise.all(ids.map((id) => outcome(box.run(id))));
  t.same(
    ended.map(({ message }) => message),
    ['', '', '', ''],
  );
  for (const id of ids) {
    t.equal(await box.exec(id, 'x', ['true']), 0);
    await box.remove(id);
  }
  const said = box.logged(WARN);
  t.match(said, [{ msg: /are spawned instead/, reason: 'a forked child ends with status 1' }]);
  t.equal(said.length, 1);
  await box.end(t);
});
