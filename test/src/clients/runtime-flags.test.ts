/** Every flag and every lesser command of gantry-runtime, beside Debian's runc where it has them. */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { linux, POLLIN, SOCK_DGRAM, SOCK_STREAM } from '@gantry/libc';
import { missing, run, RuntimeBench, runOnTerminal, sentences, until } from '../index.ts';
import type { RuntimeName, RuntimeResult, TestSpec } from '../index.ts';

const skip = missing('runc') ?? false;
const both = ['runc', 'gantry'] as const;
const noShell = skip || (missing('script') ?? false);

t.setTimeout(280_000);

function benchOf(t: Test): RuntimeBench {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  return bench;
}

function nothingLeft(t: Test, bench: RuntimeBench): void {
  t.same(bench.remove(), [], 'no control group is left');
}

/** A container of each runtime from the same configuration, each in a group of its own. */
function startBoth(
  bench: RuntimeBench,
  change: (spec: TestSpec) => void = () => undefined,
  words: string[] = [],
): void {
  for (const name of both) {
    const spec = bench.spec(['sleep', '1000'], change);
    bench.configure({ ...spec, linux: { ...spec.linux, cgroupsPath: `/${bench.group}/${name}` } });
    const { code, stderr } = bench.callDetached(name, ['run', '-d', ...words, 'box']);
    if (code !== 0) throw new Error(`${name}: ${stderr}`);
  }
}

function errorsOf({ code, stderr }: RuntimeResult): { code: number; errors: string[] } {
  return { code, errors: sentences(stderr) };
}

t.test('a terminal that nobody sits at is refused, and one with somebody is theirs', { skip: noShell }, async (t) => {
  const bench = benchOf(t);
  bench.configure(
    bench.spec(['sh', '-c', 'test -t 0 && test -t 1; stty size; read line; echo got $line'], withTerminal),
  );
  for (const name of both) {
    // setsid(1) takes the controlling terminal away, of whoever runs the tests.
    const [command, words] = bench.command(name, ['run', 'alone']);
    const alone = spawnSync('setsid', ['-w', command, ...words], { encoding: 'utf8', cwd: bench.bundle, input: '' });
    t.same(
      errorsOf({ code: alone.status ?? -1, stdout: '', stderr: alone.stderr }),
      { code: 1, errors: ['runc run failed: open /dev/tty: no such device or address'] },
      name,
    );
    t.equal(bench.call(name, ['list', '-q']).stdout, '', 'nothing was made');

    const quoted = [command, ...words].map((word) => `'${word}'`).join(' ');
    const seen = await runOnTerminal('sh', ['-c', `stty rows 33 cols 77; ${quoted}`], {
      input: 'typed\n',
      cwd: bench.bundle,
    });
    t.equal(seen.code, 0, name);
    // Runc's comes some time after the program has started.
    if (name === 'gantry') t.match(seen.stdout, /33 77\r\n/);
    t.match(seen.stdout, /got typed\r\n/, name);
  }
  startBoth(bench);
  for (const name of both) {
    const [command, words] = bench.command(name, ['exec', '-t', 'box', 'sh', '-c', 'stty size']);
    const alone = spawnSync('setsid', ['-w', command, ...words], { encoding: 'utf8', cwd: bench.bundle, input: '' });
    t.match([alone.status, alone.stderr], [255, /exec failed: open \/dev\/tty: no such device or address/], name);
    const quoted = [command, ...words].map((word) => `'${word}'`).join(' ');
    const seen = await runOnTerminal('sh', ['-c', `stty rows 33 cols 77; ${quoted}`], { cwd: bench.bundle });
    if (name === 'gantry') t.match([seen.code, seen.stdout], [0, /33 77\r\n/]);
  }
  nothingLeft(t, bench);
});

function withTerminal(spec: TestSpec): void {
  spec.process.terminal = true;
}

t.test('a terminal that is flooded in both directions does not stand still', { skip: noShell }, async (t) => {
  const bench = benchOf(t);
  // Prints more than a terminal holds before it reads anything, while as much waits to be read.
  const program = 'stty raw -echo; echo ready; seq 1 30000; head -c 20000 >/dev/null; echo over';
  bench.configure(bench.spec(['sh', '-c', program], withTerminal));
  const [command, words] = bench.command('gantry', ['run', 'flood']);
  const input = path.join(bench.dir, 'input');
  writeFileSync(input, 'x'.repeat(200_000));
  const quoted = [command, ...words].map((word) => `'${word}'`).join(' ');
  for (const from of [`<${input}`, `<${input} cat |`]) {
    const line = from.endsWith('|') ? `cat ${input} | ${quoted}` : `${quoted} ${from}`;
    const { code, stdout } = await runOnTerminal('sh', ['-c', line], { cwd: bench.bundle, timeoutMs: 60_000 });
    t.equal(code, 0, line);
    t.match(stdout.slice(-40), /30000\s+over\s+$/);
  }
});

/** The first message that arrives at a socket of ours. */
function messageOf(listener: number): { text: string; fd: number } {
  const connection = linux.accept(listener);
  const { data, fds } = linux.receiveMessage(connection, 4096) ?? { data: Buffer.alloc(0), fds: [] };
  linux.close(connection);
  return { text: data.toString(), fd: fds[0] ?? -1 };
}

t.test('--console-socket and --pidfd-socket give away what they name', { skip }, (t) => {
  const bench = benchOf(t);
  const program = 'test -t 0 && read line && echo "got $line"; sleep 1000';
  bench.configure(bench.spec(['sh', '-c', program], withTerminal));
  for (const name of both) {
    const file = path.join(bench.dir, `${name}.sock`);
    const listener = linux.listenUnix(file, SOCK_STREAM);
    t.equal(bench.callDetached(name, ['run', '-d', '--console-socket', file, 'box']).code, 0, name);
    const { text, fd } = messageOf(listener);
    t.match(text, /^\/dev\/(?:ptmx|pts\/\d+)/, name);
    linux.write(fd, Buffer.from('word\n'));
    let seen = '';
    const chunk = Buffer.alloc(4096);
    while (!seen.includes('got word')) {
      if (linux.poll([{ fd, events: POLLIN }], 30_000)[0] === 0) break;
      seen += chunk.toString('utf8', 0, linux.read(fd, chunk));
    }
    t.match(seen, /got word/, name);
    linux.close(fd);
    linux.close(listener);
    t.equal(bench.call(name, ['delete', '--force', 'box']).code, 0);
  }

  bench.configure(bench.spec(['sleep', '1000']));
  const file = path.join(bench.dir, 'pidfd.sock');
  const listener = linux.listenUnix(file, SOCK_STREAM);
  t.equal(bench.callDetached('gantry', ['create', '--pidfd-socket', file, 'box']).code, 0);
  const init = messageOf(listener);
  const pid = JSON.parse(bench.call('gantry', ['state', 'box']).stdout).pid as number;
  t.same([init.text, pidOf(init.fd)], ['standard', pid]);
  t.equal(bench.call('gantry', ['start', 'box']).code, 0);
  const words = ['exec', '-d', '--pid-file', `${bench.dir}/pid`, '--pidfd-socket', file, 'box', 'sleep', '1000'];
  t.equal(bench.callDetached('gantry', words).code, 0);
  const added = messageOf(listener);
  t.same([added.text, pidOf(added.fd)], ['setns', Number(readFileSync(`${bench.dir}/pid`, 'utf8'))]);
  for (const fd of [init.fd, added.fd, listener]) linux.close(fd);
  t.match(bench.call('gantry', ['create', '--pidfd-socket', '/nowhere', 'x']).stderr, /pidfd socket \/nowhere/);
  nothingLeft(t, bench);
  t.end();
});

function pidOf(pidfd: number): number {
  return Number(/^Pid:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8'))?.[1]);
}

t.test('--log, --log-format, --debug: where words go', { skip }, (t) => {
  const bench = benchOf(t);
  const file = path.join(bench.dir, 'log');
  for (const name of both) {
    for (const [format, line] of [
      ['text', /^time="\d{4}-[^"]*" level=error msg="container does not exist"\n$/],
      ['json', /^\{"level":"error","msg":"container does not exist","time":"\d{4}-[^"]*"\}\n$/],
    ] as const) {
      spawnSync('rm', ['-f', file]);
      t.equal(bench.call(name, ['--log', file, '--log-format', format, 'state', 'nobody']).code, 1);
      t.match(readFileSync(file, 'utf8'), line, `${name} ${format}`);
    }
    // Each call adds to it.
    bench.call(name, [`--log=${file}`, '--log-format=json', '--debug', 'state', 'nobody']);
    const records = readFileSync(file, 'utf8').trim().split('\n');
    t.ok(records.length > 1, name);
    t.match(JSON.parse(records.at(-1) ?? ''), { level: 'error', msg: 'container does not exist' }, name);
  }
  t.same(
    both.map((name) => errorsOf(bench.call(name, ['--log', '/nowhere/log', 'list'])).code),
    [1, 1],
    'a log that cannot be written is an error',
  );
  for (const name of both) t.equal(bench.call(name, ['--log-format', 'xml', 'list']).code, 1, name);
  t.equal(bench.call('gantry', ['--rootless', 'perhaps', 'list']).code, 1);
  for (const word of ['true', 'false', 'auto']) t.equal(bench.call('gantry', ['--rootless', word, 'list']).code, 0);
  for (const name of both) {
    const lines = bench.call(name, ['--version']).stdout.trim().split('\n');
    t.match(lines[0], / version \d/, name);
    t.ok(
      lines.some((line) => /^spec: 1\.\d/.test(line)),
      name,
    );
  }
  nothingLeft(t, bench);
  t.end();
});

t.test('--no-pivot, --no-subreaper, socket activation', { skip }, (t) => {
  const bench = benchOf(t);
  const look = 'grep -c . /proc/self/mountinfo; ls / | tr "\\n" " "; cd /; cd ../../..; ls | wc -l';
  bench.configure(bench.spec(['sh', '-c', look]));
  const words = ['run', '--no-pivot', '--no-subreaper', 'box'];
  const [runc, ours] = both.map((name) => bench.call(name, words));
  t.equal(ours?.code, 0, ours?.stderr ?? '');
  const roots = [runc, ours].map((result) => result?.stdout.split('\n').slice(1));
  t.same(roots[1], roots[0], 'the root is the container’s');

  bench.configure(bench.spec(['sh', '-c', 'echo $LISTEN_FDS $LISTEN_PID; cat <&3; ls /proc/self/fd | wc -l']));
  const [theirs, own] = both.map((name) => {
    const script = `echo socket > ${bench.dir}/s; exec 3<${bench.dir}/s; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`;
    return bench.callThroughShell(script, name, ['run', 'box']);
  });
  t.match(own?.stdout, /^1 1\nsocket\n/);
  t.equal(own?.stdout, theirs?.stdout);
  nothingLeft(t, bench);
  t.end();
});

t.test('a service manager hears when the container is ready, and nothing else of it', { skip }, async (t) => {
  const bench = benchOf(t);
  const manager = path.join(bench.dir, 'manager.sock');
  // Busybox has no sd_notify; the host's side of the socket is told instead.
  bench.configure(
    bench.spec(['sh', '-c', 'echo $NOTIFY_SOCKET > /tmp/told; ls -l $NOTIFY_SOCKET >> /tmp/told; sleep 1000']),
  );
  for (const words of [
    ['run', '-d', 'box'],
    ['create', 'box'],
  ] as const) {
    const listener = linux.listenUnix(manager, SOCK_DGRAM);
    const env = { NOTIFY_SOCKET: manager };
    const detached = (call: readonly string[]) => {
      const args = [
        '-c',
        'exec "$@" >"$0" 2>&1 </dev/null',
        path.join(bench.dir, 'said'),
        ...bench.command('gantry', call).flat(),
      ];
      return run('sh', args, { cwd: bench.bundle, env, timeoutMs: 60_000 });
    };
    const first = detached(words);
    let last = first;
    if (words[0] === 'create') {
      t.equal((await first).code, 0);
      last = detached(['start', 'box']);
    }
    const inside = path.join(bench.stateRoot('gantry'), 'box/notify/notify.sock');
    await until('the socket is there', () => existsSync(inside), 60_000);
    await until(
      'the container runs',
      () => /notify.sock\n[^]*notify.sock/.test(readIfThere(path.join(bench.rootfs, 'tmp/told'))),
      60_000,
    );
    t.match(readIfThere(path.join(bench.rootfs, 'tmp/told')), /^\/run\/notify\/notify\.sock\nsrwxrwxrwx/);
    const sender = linux.connectUnix(inside, SOCK_DGRAM);
    for (const text of ['STATUS=soon', 'MAINPID=1', 'STATUS=now\nREADY=1'])
      linux.sendMessage(sender, Buffer.from(text), []);
    linux.close(sender);
    const pid = (JSON.parse(bench.call('gantry', ['state', 'box']).stdout) as { pid: number }).pid;
    const told: string[] = [];
    while (told.at(-1) !== 'BARRIER=1') {
      if (linux.poll([{ fd: listener, events: POLLIN }], 60_000)[0] === 0) break;
      const { data, fds } = linux.receiveMessage(listener, 4096) ?? { data: Buffer.alloc(0), fds: [] };
      told.push(data.toString());
      for (const fd of fds) linux.close(fd);
    }
    t.same(told, ['READY=1', `MAINPID=${pid}`, 'BARRIER=1'], words[0]);
    t.equal((await last).code, 0, 'the command ends when the container is ready');
    linux.close(listener);
    spawnSync('rm', ['-f', manager, path.join(bench.rootfs, 'tmp/told')]);
    t.equal(bench.call('gantry', ['delete', '--force', 'box']).code, 0);
  }
  nothingLeft(t, bench);
});

function readIfThere(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

t.test('exec: --process, --ignore-paused, --cgroup, --no-new-privs, labels', { skip }, (t) => {
  const bench = benchOf(t);
  startBoth(bench, (spec) => (spec.process.noNewPrivileges = false));
  const file = path.join(bench.dir, 'process.json');
  writeFileSync(
    file,
    JSON.stringify({
      args: ['sh', '-c', 'pwd; id; echo $A; grep -e NoNew -e CapEff /proc/self/status; ulimit -n'],
      cwd: '/tmp',
      env: ['PATH=/bin', 'A=word'],
      user: { uid: 1000, gid: 1000, additionalGids: [7] },
      noNewPrivileges: true,
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 77, hard: 99 }],
      capabilities: { bounding: ['CAP_KILL'], effective: [], permitted: [] },
    }),
  );
  const same = (words: readonly string[]): void => {
    const [runc, ours] = both.map((name) => {
      const { code, stdout, stderr } = bench.call(name, words);
      return { code, stdout: stdout.replaceAll(name, 'NAME'), errors: sentences(stderr) };
    });
    t.same(ours, runc, words.join(' '));
  };
  same(['exec', '--process', file, 'box']);
  same(['exec', 'box', 'sh', '-c', 'exit 9']);
  same(['exec', '--no-new-privs', 'box', 'grep', 'NoNew', '/proc/self/status']);
  same(['exec', 'box', 'grep', 'NoNew', '/proc/self/status']);
  same(['exec', '--cgroup', '/', 'box', 'sh', '-c', 'grep -e pids -e memory /proc/self/cgroup | sort']);
  same(['exec', '--user', '7:8', '-e', 'X=1', '-e', 'Y=2', 'box', 'sh', '-c', 'id; echo $X $Y']);
  for (const name of both) {
    t.equal(bench.call(name, ['pause', 'box']).code, 0, name);
    t.equal(bench.call(name, ['exec', 'box', 'true']).code, 255, name);
    const words = ['exec', '--ignore-paused', '-d', '--pid-file', `${bench.dir}/${name}.pid`, 'box', 'sleep', '1000'];
    // The process goes into a frozen group and waits there with the rest, and the command with it or not.
    const child = run('timeout', ['2', ...bench.command(name, words).flat()], { cwd: bench.bundle });
    void child.catch(() => undefined);
    t.equal(bench.call(name, ['resume', 'box']).code, 0, name);
  }
  t.match(bench.call('gantry', ['exec', '--apparmor', 'nothing', 'box', 'true']).code, 255);
  nothingLeft(t, bench);
  t.end();
});

t.test('kill, ps, list, state: all their flags', { skip }, (t) => {
  const bench = benchOf(t);
  startBoth(bench);
  for (const name of both) {
    const pids = JSON.parse(bench.call(name, ['ps', '-f', 'json', 'box']).stdout) as number[];
    const { pid, owner } =
      (JSON.parse(bench.call(name, ['list', '-f', 'json']).stdout) as Record<string, unknown>[])[0] ?? {};
    t.same([pids, owner], [[pid], 'root'], name);
  }
  const keys = both.map((name) => {
    const [one = {}] = JSON.parse(bench.call(name, ['list', '--format', 'json']).stdout) as object[];
    const state = JSON.parse(bench.call(name, ['state', 'box']).stdout) as object;
    return { list: Object.keys(one).toSorted(), state: Object.keys(state).toSorted() };
  });
  t.same(keys[1], keys[0]);
  for (const name of both) {
    t.equal(bench.callDetached(name, ['exec', '-d', 'box', 'sleep', '1000']).code, 0);
    t.equal(bench.call(name, ['kill', '--all', 'box', 'SIGKILL']).code, 0);
  }
  const stopped = (name: RuntimeName): boolean => bench.call(name, ['state', 'box']).stdout.includes('"stopped"');
  return until('both end', () => both.every(stopped), 60_000);
});

t.test('events: figures, and the end', { skip }, async (t) => {
  const bench = benchOf(t);
  startBoth(bench);
  const shape = (value: unknown, depth = 2): unknown =>
    typeof value !== 'object' || value === null || depth === 0
      ? undefined
      : Object.fromEntries(
          Object.keys(value)
            .toSorted()
            .map((key) => [key, shape((value as Record<string, unknown>)[key], depth - 1)]),
        );
  const [runc, ours] = both.map((name) => JSON.parse(bench.call(name, ['events', '--stats', 'box']).stdout) as object);
  t.match(ours, { type: 'stats', id: 'box', data: { pids: { current: 1 }, memory: { usage: { usage: Number } } } });
  t.same(shape(ours), shape(runc));

  const watching = bench.callAsync('gantry', ['events', '--interval', '50ms', 'box']);
  // Long enough for some lines on any machine: the container ends when it has been looked at.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  t.equal(bench.call('gantry', ['kill', 'box', '9']).code, 0);
  const { code, stdout } = await watching;
  t.equal(code, 0);
  for (const line of stdout.trim().split('\n').filter(Boolean)) t.match(JSON.parse(line), { type: 'stats', id: 'box' });
  for (const text of ['0s', '-1s', 'often'])
    t.equal(bench.call('gantry', ['events', '--interval', text, 'box']).code, 1);
});

t.test('update: flags, a file, standard input; what fails changes nothing', { skip }, (t) => {
  const bench = benchOf(t);
  startBoth(bench, (spec) => (spec.linux.resources = { memory: { limit: 100 << 20 }, pids: { limit: 20 } }));
  const files =
    'memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes pids.max cpu.shares cpu.cfs_quota_us ' +
    'cpu.cfs_period_us cpuset.cpus cpuset.mems memory.max memory.low memory.swap.max cpu.weight cpu.max';
  const limits = (name: RuntimeName): string[] =>
    bench.groups().flatMap((group) => {
      const directory = path.join(group, name);
      if (!existsSync(directory)) return [];
      return readdirSync(directory)
        .filter((file) => files.split(' ').includes(file))
        .map((file) => `${file} ${readFileSync(path.join(directory, file), 'utf8').trim()}`);
    });
  const unique = (name: RuntimeName): string[] => [...new Set(limits(name))].toSorted();
  const same = (words: readonly string[], input = ''): void => {
    const [runc, ours] = both.map((name) => {
      const { code } = bench.call(name, ['update', ...words, 'box'], { input });
      return { code, limits: unique(name) };
    });
    t.same(ours, runc, words.join(' '));
  };
  t.same(unique('gantry'), unique('runc'));
  same(['--memory', '64m', '--memory-reservation', '32m', '--pids-limit', '50']);
  same([
    '--cpu-share',
    '512',
    '--cpu-quota',
    '50000',
    '--cpu-period',
    '100000',
    '--cpuset-cpus',
    '0',
    '--cpuset-mems',
    '0',
  ]);
  same(['--memory', '-1', '--pids-limit', '-1', '--cpu-quota', '-1']);
  same(['-r', '-'], JSON.stringify({ memory: { limit: 80 << 20 }, pids: { limit: 30 }, cpu: { shares: 300 } }));
  const file = path.join(bench.dir, 'resources.json');
  writeFileSync(file, JSON.stringify({ pids: { limit: 31 } }));
  same(['--resources', file]);
  same(['--cpuset-cpus', '4000-5000']);
  same(['-r', '/nowhere']);
  const before = unique('gantry');
  const both2 = JSON.stringify({ pids: { limit: 32 }, cpu: { cpus: '4000' } });
  t.equal(bench.call('gantry', ['update', '-r', '-', 'box'], { input: both2 }).code, 1);
  t.same(unique('gantry'), before, 'what was set before the failure is taken back');
  nothingLeft(t, bench);
  t.end();
});

t.test('spec and features', { skip }, (t) => {
  const bench = benchOf(t);
  const wrote = both.map((name) => {
    spawnSync('rm', ['-f', path.join(bench.bundle, 'config.json')]);
    t.equal(bench.call(name, ['spec']).code, 0, name);
    return JSON.parse(readFileSync(path.join(bench.bundle, 'config.json'), 'utf8')) as Record<string, unknown>;
  });
  t.same(Object.keys(wrote[1] ?? {}).toSorted(), Object.keys(wrote[0] ?? {}).toSorted());
  const before = statSync(path.join(bench.bundle, 'config.json')).mtimeMs;
  t.equal(bench.call('gantry', ['spec']).code, 1, 'one that is there is kept');
  t.equal(statSync(path.join(bench.bundle, 'config.json')).mtimeMs, before);

  const [theirs, ours] = both.map(
    (name) =>
      JSON.parse(bench.call(name, ['features']).stdout) as {
        mountOptions: string[];
        hooks: string[];
        linux: Record<string, unknown>;
      },
  );
  const missingWords = (key: 'mountOptions' | 'hooks') => theirs?.[key].filter((word) => !ours?.[key].includes(word));
  t.same([missingWords('mountOptions'), missingWords('hooks')], [[], []], 'all that runc names');
  for (const key of Object.keys(theirs?.linux ?? {})) t.ok(ours !== undefined && key in ours.linux, key);
  t.match(ours, { ociVersionMin: '1.0.0', linux: { mountExtensions: { idmap: { enabled: true } } } });
  nothingLeft(t, bench);
  t.end();
});

t.test('commands at the same time: one of them wins, and the others say so', { skip }, async (t) => {
  const bench = benchOf(t);
  bench.configure(bench.spec(['sleep', '1000']));
  let calls = 0;
  // What a container keeps open must be files.
  const detached = async (words: readonly string[]) => {
    const errors = path.join(bench.dir, `errors-${calls++}`);
    const script = 'exec "$@" >/dev/null </dev/null 2>"$0"';
    const args = ['-c', script, errors, ...bench.command('gantry', words).flat()];
    const { code } = await run('sh', args, { cwd: bench.bundle, timeoutMs: 120_000 });
    return { code, stderr: readFileSync(errors, 'utf8') };
  };
  const race = (count: number, words: readonly string[]) =>
    Promise.all(Array.from({ length: count }, () => detached(words)));
  const wins = (results: readonly { code: number }[]) => results.filter(({ code }) => code === 0).length;
  t.equal(wins(await race(4, ['create', 'box'])), 1, 'one create');
  t.equal(wins(await race(4, ['start', 'box'])), 1, 'one start');
  t.equal(wins(await race(3, ['pause', 'box'])), 1, 'one pause');
  t.equal(wins(await race(3, ['resume', 'box'])), 1, 'one resume');
  const mixed = await Promise.all([
    ...['10', '11', '12'].map((limit) => detached(['update', '--pids-limit', limit, 'box'])),
    detached(['exec', 'box', 'true']),
    detached(['state', 'box']),
    detached(['ps', 'box']),
  ]);
  t.equal(wins(mixed), mixed.length, mixed.map(({ stderr }) => stderr).join(''));
  const ends = await Promise.all([
    detached(['kill', 'box', '9']),
    detached(['delete', '--force', 'box']),
    detached(['delete', '--force', 'box']),
    detached(['exec', 'box', 'true']),
    detached(['state', 'box']),
    detached(['list']),
  ]);
  for (const { stderr } of ends) t.notMatch(stderr, /TypeError|ENOENT|ENOTEMPTY|\n +at /);
  t.equal((await detached(['delete', '--force', 'box'])).code, 0);
  t.same(readdirSync(bench.stateRoot('gantry')), [], 'no state is left');
});
