/** `gantry pull` as people use it: bars on a terminal, ^C in the middle, and the next one goes on from there, also after a restart. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { checkout, gantry, missing, RegistryBox, registryBoxMissing, run, until } from '../index.ts';

const skip = registryBoxMissing || missing('script') || false;
const bin = path.join(checkout, 'packages/cli/bin/gantry.js');
const login = ['-u', 'alice:secret'];

t.setTimeout(120_000);
t.test('a pull that is interrupted', { skip, timeout: 110_000 }, async (t) => {
  const box = new RegistryBox();
  await box.start();
  const made = await box.seed('team/slow:1', [3_000_000]);
  const last = made.layers.at(-1)?.digest ?? '';
  const name = box.name('team/slow:1');
  const words = ['-a', box.daemon.address, '-n', box.namespace, 'pull', ...login, name];
  const offset = async (): Promise<bigint> =>
    (await box.client.content.statuses()).find(({ ref }) => ref === `layer-${last}`)?.offset ?? 0n;

  box.proxy.decide(({ url }) => (url.includes(last) ? { pieceDelayMs: 100 } : undefined));
  const child = spawn(process.execPath, [bin, ...words], { stdio: ['ignore', 'pipe', 'ignore'] });
  let out = '';
  child.stdout.on('data', (text) => (out += String(text)));
  const ended = once(child, 'close');
  await until('a part of the layer has come', async () => (await offset()) > 300_000n);
  child.kill('SIGINT');
  await ended;
  t.equal(
    child.signalCode ?? child.exitCode,
    child.signalCode === null ? 130 : 'SIGINT',
    'as any command that is interrupted',
  );
  const id = last.slice('sha256:'.length).slice(0, 12);
  t.ok(out.includes(`${id}: Downloading\n`) && !out.includes(`${id}: Download complete`), out);
  t.same(await box.client.images.list(), [], 'no name for half an image');
  await box.restart('stop');
  const there = await offset();
  t.ok(there > 0n && there < 3_000_000n, `${there} bytes stay for the next one, also over a restart`);
  box.proxy.decide(() => undefined);
  const line = `stty rows 30 cols 70; ${[process.execPath, bin, ...words].join(' ')}`;
  const shown = await run('script', ['-qec', line, '/dev/null'], { timeoutMs: 60_000 });
  t.equal(shown.code, 0, shown.stdout);
  // eslint-disable-next-line no-control-regex
  t.match(shown.stdout, /\u001b\[\d+A\r\u001b\[K\w{12}: /, 'repainted in place');
  const screen = shown.stdout.split('\r\n').slice(-made.layers.length - 4);
  t.match(
    screen.join('\n').replaceAll('\r', ''),
    /: (Already exists|Pull complete)\n.*: Pull complete\nDigest: sha256:\w{64}\nStatus: Downloaded newer/,
  );
  const ranges = box.proxy.seen.filter(({ url }) => url.includes(last)).map(({ headers }) => headers.range);
  t.same(ranges, [`bytes=${there}-`], 'only the rest was fetched');
  t.same(await box.client.content.statuses(), []);
  t.same(await box.client.leases.list(), []);
  const ran = await gantry(box.daemon, box.namespace, ['run', '--rm', name, 'echo', 'whole']);
  t.equal(ran.stdout, 'whole\n', ran.stderr);
  await gantry(box.daemon, box.namespace, ['rmi', name]);
  await box.end(t);
});
