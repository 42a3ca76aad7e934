/** gantry-runtime beside Debian's runc: the same commands, the same answers. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { missing, RuntimeBench, sentences, until } from '../index.ts';
import type { RuntimeName, RuntimeResult } from '../index.ts';

const skip = missing('runc') ?? false;
const both = ['runc', 'gantry'] as const;

t.setTimeout(240_000);

/** One answer in a form that does not depend on times, pids and the runtime's name. */
function comparable({ code, stdout, stderr }: RuntimeResult): { code: number; stdout: string; errors: string[] } {
  const text = stdout
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replaceAll(/"pid": [1-9]\d*/g, '"pid": PID')
    .replaceAll(/"ociVersion": ?"[^"]*"/g, '"ociVersion":"V"')
    .replaceAll(/^(\S+ +)[1-9]\d*( +)/gm, '$1PID$2')
    .replaceAll(/^ *[1-9]\d* (?=\w)/gm, 'PID ');
  const errors = sentences(stderr).map((line) => line.replaceAll(/^(?:gantry-runtime|\/\S*runc|runc):/g, 'NAME:'));
  return { code, stdout: text.replaceAll(/ +/g, ' '), errors };
}

/** The same words for both, each with its own state; the answers must be equal. */
function same(t: Test, bench: RuntimeBench, words: readonly string[], options: { detached?: boolean } = {}): void {
  const [runc, ours] = both.map((name) =>
    comparable(options.detached === true ? bench.callDetached(name, words) : bench.call(name, words)),
  );
  t.same(ours, runc, words.join(' '));
}

t.test('a life by single commands is as runc tells it', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const log = (name: RuntimeName) => path.join(bench.dir, `${name}.log`);
  const step = (words: (id: string) => string[], detached = false) => {
    const [runc, ours] = both.map((name) => {
      bench.configure(
        bench.spec(['sh', '-c', 'trap "exit 3" TERM; sleep 1000 & wait'], (spec) => {
          spec.linux.cgroupsPath = `/${bench.group}/${name}`;
          spec.annotations = { 'org.example.key': 'value' };
        }),
      );
      const list = ['--log', log(name), '--log-format', 'json', ...words('box')];
      return comparable(detached ? bench.callDetached(name, list) : bench.call(name, list));
    });
    t.same(ours, runc, words('box').join(' '));
  };
  step((id) => ['state', id]);
  step((id) => ['create', '--pid-file', `${bench.dir}/pid`, id], true);
  step((id) => ['create', id], true);
  step((id) => ['state', id]);
  step(() => ['list']);
  step(() => ['list', '-q']);
  step((id) => ['resume', id]);
  step((id) => ['start', id]);
  step((id) => ['start', id]);
  step((id) => ['state', id]);
  step((id) => ['exec', id, 'sh', '-c', 'echo out; echo $HOME $PATH; exit 5']);
  step((id) => [
    'exec',
    '--cwd',
    '/tmp',
    '--env',
    'A=b',
    '--user',
    '1000:1000',
    id,
    'sh',
    '-c',
    'pwd; id; echo $A $HOME',
  ]);
  step((id) => [
    'exec',
    '-g',
    '5',
    '-g',
    '6',
    '--cap',
    'CAP_SYS_ADMIN',
    id,
    'sh',
    '-c',
    'id; grep Cap /proc/self/status',
  ]);
  step((id) => ['exec', id, 'no-such-program']);
  step((id) => ['exec', id, '/etc/passwd']);
  step((id) => ['exec', id, '/nowhere']);
  step((id) => ['exec', id]);
  step((id) => ['ps', id, '-o', 'pid,comm']);
  step((id) => ['pause', id]);
  step((id) => ['state', id]);
  step((id) => ['exec', id, 'true']);
  step((id) => ['resume', id]);
  step((id) => ['delete', id]);
  step((id) => ['kill', id, 'NOSUCH']);
  step((id) => ['update', '--memory', '64m', '--pids-limit', '50', id]);
  step((id) => ['exec', id, 'sh', '-c', 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true']);
  step((id) => ['kill', id]);
  t.ok(
    both.every((name) => waitStopped(bench, name)),
    'both end',
  );
  step((id) => ['state', id]);
  step((id) => ['exec', id, 'true']);
  step((id) => ['pause', id]);
  step((id) => ['start', id]);
  step((id) => ['delete', id]);
  step((id) => ['delete', id]);
  step((id) => ['delete', '--force', id]);
  step((id) => ['kill', id]);
  for (const name of both) {
    const records = readFileSync(log(name), 'utf8').trim().split('\n');
    t.match(JSON.parse(records.at(-1) ?? ''), { level: 'error', msg: 'container does not exist', time: /^\d{4}-.*Z$/ });
  }
  t.same(bench.remove(), [], 'no control group is left');
  t.end();
});

function waitStopped(bench: RuntimeBench, name: RuntimeName): boolean {
  for (let tries = 0; tries < 100; tries++) {
    if (bench.call(name, ['state', 'box']).stdout.includes('"stopped"')) return true;
  }
  return false;
}

t.test('a container in the foreground: its output, its status, and what is left', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const cases: readonly (readonly string[])[] = [
    ['sh', '-c', 'echo out; echo err >&2; exit 7'],
    ['sh', '-c', 'kill -9 $$'],
    ['true'],
    ['no-such-program'],
    ['/etc/passwd'],
  ];
  for (const args of cases) {
    bench.configure(bench.spec(args));
    same(t, bench, ['run', 'once']);
    same(t, bench, ['state', 'once']);
  }
  bench.configure(bench.spec(['cat']));
  for (const name of both) {
    const { code, stdout } = bench.call(name, ['run', 'cat'], { input: 'typed\n' });
    t.same([code, stdout], [0, 'typed\n'], name);
  }
  bench.configure(bench.spec(['true']));
  same(t, bench, ['run', '--keep', 'kept']);
  same(t, bench, ['state', 'kept']);
  same(t, bench, ['delete', 'kept']);
  t.same(bench.remove(), [], 'no control group is left');
  t.end();
});

t.test('what is wrong with a call is said as runc says it', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(bench.spec(['true']));
  const calls: readonly (readonly string[])[] = [
    ['create', '--bundle', '/nowhere', 'x'],
    ['create', '--bundle', bench.dir, 'x'],
    ['create', 'a/b'],
    ['create', '..'],
    ['create', '--console-socket', '/nowhere', 'x'],
    ['state', 'a/../b'],
    ['start', 'nobody'],
    ['kill', 'nobody', '9'],
    ['exec', 'nobody', 'true'],
    ['pause', 'nobody'],
    ['resume', 'nobody'],
    ['ps', 'nobody'],
    ['events', '--stats', 'nobody'],
    ['update', '--memory', '1m', 'nobody'],
    ['delete', 'nobody'],
    ['list', '--format', 'xml'],
    ['list', '--format', 'json'],
    ['create'],
    ['start', 'a', 'b'],
    ['state', '--no-such-flag', 'x'],
    ['spec'],
  ];
  for (const words of calls) {
    const [runc, ours] = both.map((name) => {
      const { code, errors } = comparable(bench.call(name, words));
      return { code, errors };
    });
    t.same(ours, runc, words.join(' '));
  }
  bench.configure(bench.spec(['sh'], (spec) => (spec.process.terminal = true)));
  same(t, bench, ['create', 'x']);
  same(t, bench, ['run', '-d', 'x']);
  bench.configure('{');
  for (const name of both) t.equal(bench.call(name, ['create', 'x']).code, 1, name);
  for (const name of both) t.equal(bench.call(name, ['list', '-q']).stdout, '', 'nothing was made');
  t.same(bench.remove(), [], 'no control group is left');
  t.end();
});

t.test('preserved descriptors arrive under their numbers, and no others', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(bench.spec(['sh', '-c', 'cat <&3; cat <&4; for fd in /proc/self/fd/*; do echo ${fd##*/}; done']));
  writeFileSync(path.join(bench.dir, 'three'), 'three\n');
  writeFileSync(path.join(bench.dir, 'four'), 'four\n');
  const { dir } = bench;
  const answers = both.map((name) => {
    const script = `exec 3<${dir}/three 4<${dir}/four 5</etc/passwd; exec "$@"`;
    return shell(script, name, bench, ['run', '--preserve-fds', '2', 'fds']);
  });
  t.equal(answers[1], answers[0]);
  t.match(answers[1], /^three\nfour\n0\n1\n2\n3\n4\n/);
  t.same(bench.remove(), [], 'no control group is left');
  t.end();
});

function shell(script: string, name: RuntimeName, bench: RuntimeBench, words: readonly string[]): string {
  const result = bench.callThroughShell(script, name, words);
  return result.stdout + result.stderr;
}

t.test('a signal to the command in the foreground reaches the container', { skip }, async (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(
    bench.spec(['sh', '-c', 'trap "echo got it; exit 9" USR1; echo ready; while :; do sleep 0.05; done']),
  );
  for (const name of both) {
    const child = spawn(...bench.command(name, ['run', 'sig']), {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: bench.bundle,
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    await until('the container runs', () => output.includes('ready'));
    child.kill('SIGUSR1');
    const code = await new Promise((resolve) => child.once('close', resolve));
    t.same([code, output], [9, 'ready\ngot it\n'], name);
    t.notOk(existsSync(path.join(bench.stateRoot(name), 'sig')), 'the container is deleted');
  }
});
