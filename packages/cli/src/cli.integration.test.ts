/** The gantry command as a process, against a real supervisor. */
import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ociArchive, supervisorMissing, testSupervisor } from '@gantry/client/testing';
import type { TestSupervisor } from '@gantry/client/testing';

const reason = supervisorMissing();
const skip = reason === undefined ? false : reason;
const bin = fileURLToPath(new URL('../bin/gantry.js', import.meta.url));
const dir = mkdtempSync(path.join(tmpdir(), 'gantry-cli-'));
let supervisor: TestSupervisor | undefined;

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [bin, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {
      ...process.env,
      GANTRY_ADDRESS: supervisor?.address ?? path.join(dir, 'no.sock'),
      GANTRY_NAMESPACE: supervisor?.namespace ?? 'none',
      GANTRY_LOG_DIR: path.join(dir, 'logs'),
      GANTRY_FIFO_DIR: path.join(dir, 'fifos'),
    },
  });
}

async function ended(child: ChildProcess): Promise<Result> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => (out += String(chunk)));
  child.stderr?.on('data', (chunk) => (err += String(chunk)));
  await once(child, 'close');
  return { code: child.exitCode, out, err };
}

/** One command line, with `input` on its stdin. */
function gantry(args: readonly string[], input = ''): Promise<Result> {
  const child = start(args);
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  return ended(child);
}

/** Resolves with the next piece of output, or when there will be none. */
async function nextOutput(child: ChildProcess): Promise<void> {
  await Promise.race([once(child.stdout ?? child, 'data'), once(child, 'close')]);
}

const words = (line: string): string[] => line.split(' ');

t.setTimeout(180_000);
t.test('without a supervisor one line says so, and the status is 125', async (t) => {
  const { code, out, err } = await gantry(['-a', '/nonexistent/x.sock', 'ps']);
  t.same({ code, out }, { code: 125, out: '' });
  t.equal(err, 'gantry: no supervisor listens on /nonexistent/x.sock: there is no such socket\n');
});

t.test('help and mistakes need no supervisor', async (t) => {
  t.match(await gantry(['--help']), { code: 0, out: /Commands:/ });
  t.match(await gantry(words('run --help')), { code: 0, out: /--memory SIZE/ });
  t.match(await gantry(words('run --rmm x')), { code: 125, err: 'gantry: unknown flag --rmm; did you mean --rm?\n' });
});

t.test('load, images, tag, rmi', { skip }, async (t) => {
  supervisor = await testSupervisor();
  const file = path.join(dir, 'box.tar');
  writeFileSync(file, ociArchive());
  t.same(await gantry(['load', '-i', file]), { code: 0, out: 'Loaded image: box:1\n', err: '' });
  t.match((await gantry(['images'])).out, /^REPOSITORY +TAG +IMAGE ID.*\nbox +1 +[0-9a-f]{12} /);
  t.match(JSON.parse((await gantry(words('images --format json'))).out), { name: 'docker.io/library/box:1' });
  t.equal((await gantry(words('tag box:1 box:2'))).code, 0);
  t.same(await gantry(words('rmi box:2')), { code: 0, out: 'Untagged: box:2\n', err: '' });
  t.match(await gantry(words('rmi box:2')), { code: 125, err: 'gantry: image "box:2": not found\n' });
  await gantry(words('tag box:1 box:3'));
  const id = (await gantry(words('images -q'))).out.split('\n')[0] ?? '';
  t.match(await gantry(['rmi', id]), {
    code: 125,
    err: /has several names \(box:1, box:3\): name one, or use --force/,
  });
  t.match(await gantry(['rmi', 'box:3']), { code: 0 });
  t.match((await gantry(['history', id])).out, /^LAYER +CREATED +CREATED BY +SIZE/, 'an id is as good as a name');
  t.match(await gantry(['load', '-i', bin]), { code: 125, err: /^gantry: loading / });
});

t.test('run passes on output, input and exit codes', { skip }, async (t) => {
  t.same(await gantry(['run', '--rm', 'box:1', 'sh', '-c', 'echo out; echo err >&2; exit 3']), {
    code: 3,
    out: 'out\n',
    err: 'err\n',
  });
  t.match(await gantry(words('run --rm -i box:1 cat'), 'through'), { code: 0, out: 'through' });
  t.match(await gantry(words('run --rm box:1 /no/such')), { code: 127, err: /^gantry: [^\n]*\n$/ });
  t.match(await gantry(words('run --rm box:1 /etc/passwd')), { code: 126 });
  t.match(await gantry(words('run --rm --pull never nowhere:9')), {
    code: 125,
    err: /"nowhere:9" is not here.*gantry pull/,
  });
  t.match(await gantry(words('run --rm -d box:1')), { code: 125, err: /cannot be used with -d/ });
  t.equal((await gantry(words('ps -a -q'))).out, '', '--rm left nothing');
});

t.test('limits, user, environment and mounts are what was asked for', { skip }, async (t) => {
  const shared = path.join(dir, 'shared');
  mkdirSync(shared);
  writeFileSync(path.join(shared, 'file'), 'from the host\n');
  chmodSync(dir, 0o755);
  const script = 'id -u; echo $A; pwd; hostname; cat /mnt/file; touch /mnt/x || echo read-only';
  const args = words('run --rm -u alice -e A=1 -w /tmp --hostname inside --read-only --memory 64m --cpus 0.5');
  const { out } = await gantry([...args, '-v', `${shared}:/mnt:ro`, 'box:1', 'sh', '-c', script]);
  t.equal(out, '1000\n1\n/tmp\ninside\nfrom the host\nread-only\n');
});

t.test('a container in the background: ps, logs, exec, stats, inspect, stop, start, rm', { skip }, async (t) => {
  const script = 'echo started; trap "exit 4" TERM; while true; do sleep 0.05; done';
  t.same(await gantry(['run', '-d', '--name', 'web', 'box:1', 'sh', '-c', script]), {
    code: 0,
    out: 'web\n',
    err: '',
  });
  t.match((await gantry(['ps'])).out, /^CONTAINER ID .*\nweb +box:1 +"sh -c echo started; .*Up /);
  const logs = start(words('logs -f web'));
  const following = ended(logs);
  t.match(await gantry(words('exec web sh -c exit')), { code: 0 });
  t.match(await gantry(['exec', 'web', 'sh', '-c', 'exit 9']), { code: 9 });
  t.match(await gantry(words('exec web nothing')), { code: 127 });
  t.match(await gantry(words('exec -i web cat'), 'piped'), { out: 'piped' });
  t.match((await gantry(words('stats --no-stream web'))).out, /^CONTAINER ID .*\nweb +\d+\.\d\d% +\S+ /);
  t.match(JSON.parse((await gantry(words('inspect web'))).out), [{ id: 'web', task: { status: 'running' } }]);
  t.match(await gantry(words('rm web')), { code: 125, err: /is running/ });
  t.match(await gantry(words('stop -t 5 we')), { code: 0, out: 'web\n' }, 'the beginning of an id is enough');
  t.match(await following, { code: 0, out: 'started\n' }, 'logs -f ends with the container');
  t.match((await gantry(words('ps -a'))).out, /Exited \(4\)/);
  t.equal((await gantry(words('wait web'))).out, '4\n');
  t.match(await gantry(words('start web')), { code: 0 });
  t.match(await gantry(words('kill -s KILL web')), { code: 0 });
  t.equal((await gantry(words('wait web'))).out, '137\n');
  t.equal((await gantry(words('logs --tail 1 web'))).out, 'started\n');
  t.match(await gantry(words('rm web')), { code: 0, out: 'web\n' });
  t.match(await gantry(words('logs web')), { code: 125, err: 'gantry: container "web": not found\n' });
});

t.test(
  'what a container changed is listed and becomes an image; images go out and come in again',
  { skip },
  async (t) => {
    const script = 'echo new >/root/new; rm /etc/group; echo >>/etc/passwd; mkdir -p /srv/deep';
    await gantry(['run', '--name', 'changer', 'box:1', 'sh', '-c', script]);
    const diff = await gantry(words('diff changer'));
    const lines = ['C /etc', 'D /etc/group', 'C /etc/passwd', 'C /root', 'A /root/new', 'A /srv', 'A /srv/deep'];
    t.same(diff, { code: 0, out: `${lines.join('\n')}\n`, err: '' });

    const commit = [
      'commit',
      '-A',
      'me',
      '-m',
      'why',
      '-c',
      'CMD ["cat", "/root/new"]',
      '-c',
      'ENV B=2',
      'changer',
      'made:1',
    ];
    t.match(await gantry(commit), { code: 0, out: /^sha256:[0-9a-f]{64}\n$/ });
    t.match(await gantry(words('run --rm made:1')), { code: 0, out: 'new\n' });
    t.match((await gantry(words('run --rm made:1 env'))).out, /^FROM_IMAGE=1$[^]*^B=2$/m);
    t.match((await gantry(words('history made:1'))).out, /\n[0-9a-f]{12} .* ago +gantry commit .* why\n/);
    await gantry(words('rm changer'));

    const file = path.join(dir, 'saved.tar');
    t.same(await gantry(['save', '-o', file, 'made:1', 'box:1']), { code: 0, out: '', err: '' });
    t.match(await gantry(words('rmi made:1')), { code: 0 });
    t.match((await gantry(['load', '-i', file])).out, /^Loaded image: made:1$/m);
    t.match(await gantry(words('run --rm made:1')), { code: 0, out: 'new\n' });
    t.match(await gantry(['save', 'nowhere:1']), { code: 125, out: '', err: /nowhere:1.*not found/ });

    t.match(await gantry(words('content verify')), {
      code: 0,
      out: /^DIGEST +SIZE +STATUS\n(sha256:\S+ +\S+ +ok\n)+$/,
    });
    t.match(await gantry(words('prune')), { code: 125, err: /say --force/ });
    t.match(await gantry(words('prune --force')), { code: 0, out: 'Total reclaimed space: 0B\n' }, 'all have tags');
    await gantry(words('run -d --name keeper box:1 sleep 1000'));
    t.match(await gantry(words('prune -f -a')), { code: 0, out: /^Deleted: \S+made:1 .*\nTotal reclaimed space: \d/ });
    t.match((await gantry(words('images'))).out, /^REPOSITORY.*\nbox +1 [^\n]*\n$/, 'what a container uses stays');
    t.match(await gantry(words('commit keeper kept:1')), { code: 0 }, 'of one that runs');
    t.match((await gantry(words('ps'))).out, /keeper.*Up /, 'which runs on');
    await gantry(words('rm -f keeper'));
    await gantry(words('rmi kept:1'));
  },
);

const skipZstd = skip === false && spawnSync('zstd', ['--version']).error !== undefined ? 'no zstd' : skip;
t.test('convert packs layers in another way: the same files, the same id', { skip: skipZstd }, async (t) => {
  const file = path.join(dir, 'converted.tar');
  const types = { zstd: 'tar+zstd"', none: 'v1.tar"', gzip: 'tar+gzip"' };
  let source = 'box:1';
  for (const [kind, type] of Object.entries(types)) {
    t.match(await gantry(['convert', '-c', kind, source, `packed:${kind}`]), {
      code: 0,
      out: /^sha256:[0-9a-f]{64}\n$/,
    });
    source = `packed:${kind}`;
    t.equal((await gantry(['run', '--rm', source, 'echo', kind])).out, `${kind}\n`);
    t.equal((await gantry(['save', '-o', file, source])).code, 0);
    t.ok(readFileSync(file).includes(type), `${source} has a layer of type ${type}`);
  }
  const ids = (await gantry(words('images -q'))).out.trim().split('\n');
  t.equal(new Set(ids).size, 1, 'the config, and so the id, is the same');
  await gantry(['rmi', ...Object.keys(types).map((kind) => `packed:${kind}`)]);
  t.match(await gantry(words('convert -c xz box:1 x:1')), { code: 125, err: /"xz" is not one of gzip, zstd, none/ });
});

t.test('signals reach the container, and a second Ctrl-C ends even one that ignores them', { skip }, async (t) => {
  const polite = start([
    'run',
    '--rm',
    'box:1',
    'sh',
    '-c',
    'trap "exit 5" TERM; echo up; while true; do sleep 0.05; done',
  ]);
  const politeEnd = ended(polite);
  await nextOutput(polite);
  polite.kill('SIGTERM');
  t.match(await politeEnd, { code: 5 });
  const deaf = start([
    'run',
    '--rm',
    'box:1',
    'sh',
    '-c',
    'trap "echo no" INT; echo up; while true; do sleep 0.05; done',
  ]);
  const deafEnd = ended(deaf);
  await nextOutput(deaf);
  deaf.kill('SIGINT');
  await nextOutput(deaf);
  deaf.kill('SIGINT');
  t.match(await deafEnd, { code: 137, out: 'up\nno\n' });
  t.equal((await gantry(words('ps -a -q'))).out, '');
});

t.test('a terminal is a terminal inside, and is put back outside', { skip }, async (t) => {
  const line = `stty rows 33 cols 99; ${process.execPath} ${bin} run --rm -it box:1 sh -c "stty size"; stty -a`;
  const child = spawn('script', ['-qec', line, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, GANTRY_ADDRESS: supervisor?.address, GANTRY_NAMESPACE: supervisor?.namespace },
  });
  const { out } = await ended(child);
  t.match(out, /^33 99\r?\n/);
  t.match(out, / icanon /, 'no longer raw');
});

t.test('when the reader goes away, the command ends as any other in a pipe', { skip }, async (t) => {
  const child = start(words('run --rm box:1 yes'));
  await nextOutput(child);
  child.stdout?.destroy();
  if (child.exitCode === null) await once(child, 'exit');
  t.equal(child.exitCode, 141);
  t.equal((await gantry(words('ps -a -q'))).out, '', 'and --rm holds');
});

t.test('the nouns of the API are listed', { skip }, async (t) => {
  t.match(
    (await gantry(words('namespace ls'))).out,
    new RegExp(`^NAME +LABELS\n(.*\n)*${supervisor?.namespace ?? ''}`),
  );
  t.match((await gantry(words('content ls'))).out, /\nsha256:/);
  t.match((await gantry(words('snapshot ls'))).out, /Committed/);
  t.match((await gantry(words('task ls'))).out, /^TASK +PID +STATUS\n$/);
  t.match((await gantry(words('lease ls'))).out, /^LEASE ID/);
  t.same(await gantry(words('lease create --id kept a=b')), { code: 0, out: 'kept\n', err: '' });
  t.match(JSON.parse((await gantry(words('lease ls --format json'))).out), { id: 'kept', labels: { a: 'b' } });
  t.match((await gantry(words('lease resources kept'))).out, /^TYPE +ID\n$/);
  t.match(await gantry(words('lease rm kept nothing')), {
    code: 125,
    out: 'kept\n',
    err: /lease "nothing".*not found/,
  });
  t.match((await gantry(words('snapshot usage'))).out, /^KEY +SIZE +INODES\nsha256:\S+ +\S+B +\d+\n/);
  const [, chain = ''] = /(sha256:\S+)/.exec((await gantry(words('snapshot ls'))).out) ?? [];
  t.match(JSON.parse((await gantry(['snapshot', 'info', chain])).out), { name: chain, kind: 'Committed' });
  t.match(await gantry(['snapshot', 'rm', 'nothing']), { code: 125, err: /nothing.*not (found|exist)/ });
  t.match((await gantry(words('content active'))).out, /^REF +SIZE +TOTAL +STARTED\n$/);
  t.match((await gantry(['version'])).out, /Server:\n {2}Version: {2}\S/);
});

t.test('nothing is left: no pipes, no logs, no image', { skip }, async (t) => {
  t.match(await gantry(words('rmi box:1')), { code: 0 });
  t.same(readdirSync(path.join(dir, 'fifos')), []);
  t.same(readdirSync(path.join(dir, 'logs', supervisor?.namespace ?? '')), []);
});

t.teardown(async () => {
  await supervisor?.stop();
  rmSync(dir, { recursive: true, force: true });
});
