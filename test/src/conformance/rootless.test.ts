/** Containers of an ordinary user: made, entered, signalled and deleted without any privilege. */
import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { checkout, missing, RuntimeBench, runtimeCommands, until } from '../index.ts';
import type { RuntimeResult, TestSpec } from '../index.ts';

t.setTimeout(240_000);

/** Nobody's on any machine. */
const UID = 64_123;
const asUser = ['setpriv', '--reuid', String(UID), '--regid', String(UID), '--clear-groups'];

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'needs root to become an ordinary user';
  const lacks = missing('setpriv', 'unshare');
  if (lacks !== undefined) return lacks;
  const able = (...words: string[]): boolean => spawnSync(asUser[0] ?? '', [...asUser.slice(1), ...words]).status === 0;
  if (!able('unshare', '-Urm', 'true')) return 'no user namespaces for ordinary users here';
  return able('test', '-r', runtimeCommands.gantry) ? false : 'the checkout is out of an ordinary user’s reach';
}

const skip = whyNot();

/** A bundle of the user's; what it writes below the scratch directory is his. */
class UserBench {
  readonly bench = new RuntimeBench();

  constructor() {
    mkdirSync(path.join(this.bench.dir, 'run'));
    spawnSync('chown', ['-R', `${UID}:${UID}`, this.bench.dir]);
  }

  configure(args: string[], change: (spec: TestSpec) => void = () => undefined): void {
    this.bench.configure(
      this.bench.spec(args, (spec) => {
        delete spec.linux.cgroupsPath;
        delete spec.linux.resources;
        spec.linux.namespaces = ['pid', 'ipc', 'uts', 'mount', 'user', 'network'].map((type) => ({
          type,
        })) as NonNullable<typeof spec.linux.namespaces>;
        spec.linux.uidMappings = [{ containerID: 0, hostID: UID, size: 1 }];
        spec.linux.gidMappings = [{ containerID: 0, hostID: UID, size: 1 }];
        for (const mount of spec.mounts) mount.options = (mount.options ?? []).filter((one) => one !== 'gid=5');
        change(spec);
      }),
    );
  }

  /** As the user; `prepare` is done before by root, in a mount namespace for this call alone. */
  call(words: string[], prepare = 'true'): RuntimeResult {
    const script = `out=$1; shift; unshare -m sh -c '${prepare}; exec ${asUser.join(' ')} "$@"' sh "$@" >"$out" 2>"$out.err" </dev/null; code=$?; cat "$out"; cat "$out.err" >&2; exit $code`;
    const [command, args] = this.bench.command('gantry', words);
    const { status, stdout, stderr } = spawnSync(
      'sh',
      ['-c', script, 'sh', path.join(this.bench.dir, 'out'), command, ...args],
      { encoding: 'utf8', timeout: 30_000, cwd: this.bench.bundle, env: { ...process.env, HOME: '/' } },
    );
    return { code: status ?? -1, stdout, stderr };
  }

  remove(): void {
    this.call(['delete', '--force', 'mine']);
    this.bench.remove();
  }
}

t.test('a whole life', { skip }, (t) => {
  const user = new UserBench();
  t.teardown(() => user.remove());
  user.configure(
    ['sh', '-c', 'id; cat /proc/self/uid_map /proc/self/setgroups; hostname; touch /made; ls -ld /dev/null; exit 3'],
    (spec) => (spec.process.oomScoreAdj = 900),
  );
  const once = user.call(['run', 'mine']);
  t.equal(once.code, 3, once.stderr);
  t.match(once.stdout, /^uid=0\(root\) gid=0\(root\)/);
  t.match(once.stdout, new RegExp(String.raw`^ +0 +${UID} +1\ndeny\nbox\ncrw-rw-rw- `, 'm'));
  t.equal(
    spawnSync('stat', ['-c', '%u', path.join(user.bench.rootfs, 'made')], { encoding: 'utf8' }).stdout,
    `${UID}\n`,
    'what it writes is the user’s',
  );

  user.configure(
    ['sh', '-c', 'trap "exit 7" TERM; cat /proc/self/oom_score_adj > /tmp/score; while sleep 0.05; do :; done'],
    (spec) => {
      spec.process.oomScoreAdj = -500;
      spec.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 200, hard: 300 }];
    },
  );
  const created = user.call(['create', 'mine']);
  t.equal(created.code, 0, created.stderr);
  t.match(user.call(['state', 'mine']).stdout, /"status": "created"/);
  t.equal(user.call(['start', 'mine']).code, 0);
  const inside = user.call([
    'exec',
    '--env',
    'A=b',
    'mine',
    'sh',
    '-c',
    'id -u; echo $A; ulimit -n; ls /proc; hostname; exit 4',
  ]);
  t.equal(inside.code, 4, inside.stderr);
  t.match(inside.stdout, /^0\nb\n200\n1\n[^]*\nbox\n$/, 'it is in the pid namespace, with its limits');
  t.match(user.call(['exec', 'mine', '/nowhere']), { code: 255, stderr: /no such file or directory/ });
  t.match(user.call(['exec', '--user', '5', 'mine', 'id']), { code: 255, stderr: /unmapped uid 5/ });
  t.match(user.call(['pause', 'mine']), { code: 1, stderr: /no control group of its own/ });
  t.equal(user.call(['kill', 'mine', 'TERM']).code, 0);
  t.match(user.call(['delete', '--force', 'mine']).code, 0);
  t.equal(user.call(['list', '-q']).stdout, '');
  t.end();
});

t.test('what an ordinary user cannot have is said', { skip }, (t) => {
  const user = new UserBench();
  t.teardown(() => user.remove());
  const refused = (change: (spec: TestSpec) => void, message: RegExp): void => {
    user.configure(['true'], change);
    t.match(user.call(['run', 'mine']), { code: 1, stderr: message });
    t.equal(user.call(['list', '-q']).stdout, '');
  };
  refused((spec) => {
    spec.linux.namespaces = spec.linux.namespaces?.filter(({ type }) => type !== 'user') ?? [];
    delete spec.linux.uidMappings;
    delete spec.linux.gidMappings;
  }, /rootless container requires user namespaces/);
  refused((spec) => (spec.linux.resources = { memory: { limit: 100_000_000 } }), /linux\.resources cannot be applied/);
  refused((spec) => (spec.process.user = { uid: 0, gid: 0, additionalGids: [0] }), /setting additional groups/);
  refused((spec) => spec.mounts[2]?.options?.push('gid=5'), /cannot specify gid=5 mount option for rootless container/);
  refused(
    (spec) => spec.mounts.push({ destination: '/mnt', source: '/', options: ['bind', 'idmap'] }),
    /id-mapped mounts are not supported for rootless containers/,
  );
  refused((spec) => {
    const asks = { names: ['sendmsg'], action: 'SCMP_ACT_NOTIFY' } as const;
    spec.linux.seccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      listenerPath: '/nowhere',
      syscalls: [{ ...asks, names: [...asks.names] }],
    };
  }, /SCMP_ACT_NOTIFY for the sendmsg syscall/);
  refused((spec) => (spec.linux.netDevices = { eth0: {} }), /not supported for rootless containers/);
  refused(
    (spec) => (spec.linux.uidMappings = [{ containerID: 0, hostID: UID, size: 2 }]),
    /newuidmap[^]*(?:subuid|not installed)/,
  );
  t.end();
});

t.test('a seccomp agent answers for the container and for what is executed in it', { skip }, async (t) => {
  const user = new UserBench();
  t.teardown(() => user.remove());
  const socket = path.join(user.bench.dir, 'run/agent.sock');
  const program = path.join(checkout, 'packages/libc/dist/test-programs/seccomp-agent.js');
  const startAgent = async (calls: number): Promise<{ output: () => string; ended: Promise<unknown> }> => {
    spawnSync('rm', ['-f', socket]);
    const [command = '', ...words] = [...asUser, process.execPath, program, socket, String(calls)];
    const agent = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => void agent.kill());
    let output = '';
    agent.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    await until('the agent listens', () => output.includes('listening'), 60_000);
    return { output: () => output, ended: new Promise((resolve) => agent.once('close', resolve)) };
  };
  user.configure(['sh', '-c', 'mkdir /tmp/a 2>&1; echo after; sleep 1000'], (spec) => {
    spec.linux.seccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      listenerPath: socket,
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_NOTIFY' }],
    };
  });
  const first = await startAgent(1);
  const { code, stderr } = user.call(['run', '-d', 'mine']);
  t.equal(code, 0, stderr);
  if (code !== 0) return;
  await first.ended;
  t.match(JSON.parse(first.output().split('\n')[1] ?? ''), { fds: ['seccompFd'], state: { id: 'mine' } });
  const second = await startAgent(1);
  const added = user.call(['exec', 'mine', 'mkdir', '/tmp/b']);
  t.match([added.code, added.stderr], [1, /No medium found/]);
  // Where it was never asked it would wait for ever.
  if (added.code === 1) await second.ended;
});

t.test('subordinate ids are mapped', { skip: skip || missing('newuidmap', 'newgidmap') || false }, (t) => {
  const user = new UserBench();
  t.teardown(() => user.remove());
  const file = (name: string, text: string): string => {
    writeFileSync(path.join(user.bench.dir, name), text);
    return `touch /etc/${name}; mount --bind ${path.join(user.bench.dir, name)} /etc/${name}`;
  };
  const prepare = [
    file('subuid', `tester:100000:70000\n`),
    file('subgid', `tester:100000:70000\n`),
    file('passwd', `${readFileSync('/etc/passwd', 'utf8')}tester:x:${UID}:${UID}::/:/bin/sh\n`),
  ].join('; ');
  const maps = [
    { containerID: 0, hostID: UID, size: 1 },
    { containerID: 1, hostID: 100_000, size: 65_536 },
  ];
  user.configure(['sh', '-c', 'id; cat /proc/self/gid_map; sleep 1000'], (spec) => {
    spec.linux.uidMappings = maps;
    spec.linux.gidMappings = maps;
    spec.process.user = { uid: 1000, gid: 1000, additionalGids: [2000] };
  });
  const { code, stderr } = user.call(['run', '-d', 'mine'], prepare);
  t.equal(code, 0, stderr);
  const inside = user.call([
    'exec',
    '--user',
    '1001:1001',
    '--additional-gids',
    '2000',
    'mine',
    'sh',
    '-c',
    'id; cat /proc/1/uid_map',
  ]);
  t.match(
    inside.stdout,
    /^uid=1001 gid=1001 groups=[^\n]*2000\(extra\)[^\n]*\n +0 +64123 +1\n +1 +100000 +65536\n$/,
    inside.stderr,
  );
  t.match(readFileSync(path.join(user.bench.dir, 'out'), 'utf8'), /uid=1001/);
  t.equal(user.call(['kill', 'mine', 'KILL']).code, 0, 'a process of a subordinate id is the user’s to kill');
  t.equal(user.call(['delete', '--force', 'mine']).code, 0);
  t.end();
});

t.test('root of a user namespace, as podman’s rootless runtime is', { skip }, (t) => {
  const user = new UserBench();
  t.teardown(() => user.remove());
  user.configure(['sh', '-c', 'id -u; cat /proc/self/uid_map'], (spec) => {
    spec.linux.namespaces = spec.linux.namespaces?.filter(({ type }) => type !== 'user') ?? [];
    delete spec.linux.uidMappings;
    delete spec.linux.gidMappings;
  });
  const [command, words] = user.bench.command('gantry', ['run', 'mine']);
  const { status, stdout, stderr } = spawnSync(
    asUser[0] ?? '',
    [...asUser.slice(1), 'unshare', '-Urmpf', '--mount-proc', command, ...words],
    { encoding: 'utf8', timeout: 30_000, cwd: user.bench.bundle },
  );
  t.equal(status, 0, stderr);
  t.match(stdout, new RegExp(String.raw`^0\n +0 +${UID} +1\n`));
  t.end();
});
