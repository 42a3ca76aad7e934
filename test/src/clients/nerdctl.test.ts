/** nerdctl on gantryd and on a stock containerd: the same commands, the same words and exit statuses. */
import t from 'tap';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { missing, normalize, Pair, run, until } from '../index.ts';
import type { CommandResult, Side } from '../index.ts';

/** Debian 12 has no nerdctl: it is tested where one is on the PATH. */
const skip = missing('nerdctl', 'containerd', 'runc', 'ctr', 'busybox') ?? false;
const image = 'docker.io/library/box:latest';

function nerdctl(side: Side, words: readonly string[], input = ''): Promise<CommandResult> {
  const net = path.join(side.dir, 'net');
  mkdirSync(net, { recursive: true });
  const own = ['--data-root', path.join(side.dir, 'nerdctl'), '--cni-netconfpath', net, '--namespace', side.namespace];
  return run('nerdctl', ['--address', side.daemon.address, ...own, ...words], { input, timeoutMs: 60_000 });
}

/** What both must print: without ids, times, and the parts of errors that name the runtime. */
function clean({ code, stdout, stderr }: CommandResult, side: Side): unknown {
  const text = normalize(stdout + stderr, side)
    .replace(/time="[^"]*" level=((warning|info) .*|error msg="forward signal .*)\n/g, '')
    .replace(/time="[^"]*"/g, '')
    .replace(/runc create failed: |: unknown/g, '')
    .replace(/\b[0-9a-f]{12,64}\b/g, 'ID');
  return { code, text };
}

/** Where containerd's client library puts its fifos; nerdctl leaves some of their directories behind, on both. */
const fifoDir = '/run/containerd/fifo';
const fifos = (): string[] => (existsSync(fifoDir) ? readdirSync(fifoDir) : []);

const box = ['--net', 'none', image];

t.setTimeout(300_000);
t.test('nerdctl does as on containerd', { skip, timeout: 280_000 }, async (t) => {
  const foreign = new Set(fifos());
  const pair = new Pair();
  await pair.start();
  const both = async (words: readonly string[], input?: string): Promise<void> => {
    const [theirs, ours] = [await nerdctl(pair.stock, words, input), await nerdctl(pair.ours, words, input)];
    t.same(clean(ours, pair.ours), clean(theirs, pair.stock), `nerdctl ${words.join(' ')}`);
  };
  const logged = async (name: string, text: string): Promise<void> => {
    for (const side of [pair.stock, pair.ours])
      await until(`${name} to have logged`, async () => (await nerdctl(side, ['logs', name])).stdout.includes(text));
  };
  await pair.both(['images', 'import', '--base-name', 'docker.io/library/box', pair.archive]);

  await both(['run', '--rm', ...box, 'echo', 'hello']);
  await both(['run', '-i', '--rm', ...box, 'cat'], 'through stdin\n');
  await both(['run', '--rm', ...box, 'sh', '-c', 'exit 7']);
  await both(['run', '--rm', ...box, 'no-such-program']);
  await both(['run', '--rm', '--user', '1000:1000', '--cap-drop', 'ALL', ...box, 'grep', '^Cap', '/proc/self/status']);
  await both(['run', '--rm', '--read-only', '--tmpfs', '/t', ...box, 'sh', '-c', 'touch /t/x /x; echo $?']);
  const limits = ['-m', '64m', '--cpus', '0.5', '--pids-limit', '50'];
  await both(['run', '-d', '--name', 'web', ...limits, ...box, 'sh', '-c', 'echo started; exec sleep 10000']);
  await logged('web', 'started');
  await both(['logs', 'web']);
  await both(['exec', '-e', 'A=b', 'web', 'sh', '-c', 'echo $A; cat /proc/1/comm']);
  await both(['pause', 'web']);
  await both(['ps', '-a', '--format', '{{.Names}} {{.Status}}']);
  await both(['unpause', 'web']);
  await both(['update', '--memory', '128m', 'web']);
  await both(['stop', '-t', '1', 'web']);
  await both(['start', 'web']);
  await both(['kill', 'web']);
  await both(['wait', 'web']);
  await both(['commit', 'web', 'docker.io/library/new:1']);
  await both(['rm', '-f', 'web']);
  await both(['run', '--rm', '--net', 'none', '-v', 'data:/v', 'new:1', 'sh', '-c', 'echo kept > /v/f; cat /v/f']);
  await both(['volume', 'ls', '-q']);
  await both(['images', '--format', '{{.Repository}} {{.Tag}}']);
  await both(['rmi', 'new:1']);
  for (const name of fifos()) if (!foreign.has(name)) rmSync(path.join(fifoDir, name), { recursive: true });
  t.same(await pair.stop(), []);
});
