/** Tests that really fork: each runs a scenario of test-programs/forking.ts in a single-threaded Node. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const program = fileURLToPath(new URL('../test-programs/forking.js', import.meta.url));
const rootOnly = process.getuid?.() === 0 ? {} : { skip: 'needs root' };

function run(scenario: string, ...args: readonly string[]): unknown {
  const { stdout, stderr, status, signal } = spawnSync(
    process.execPath,
    ['--single-threaded', program, scenario, ...args],
    {
      encoding: 'utf8',
      timeout: 60_000,
    },
  );
  if (status !== 0) throw new Error(`${scenario}: status ${status} ${signal}\n${stderr}`);
  return JSON.parse(stdout);
}

t.test('a forked child runs JavaScript and its exit code arrives', async (t) => {
  t.same(run('exitCode'), { exitStatus: 42, signal: 0, nobody: 'ECHILD' });
});

t.test('forks work while the heap moves and the event loop is busy', rootOnly, async (t) => {
  t.same(run('manyForks'), { good: 60 });
});

t.test('clone puts the child into new namespaces', rootOnly, async (t) => {
  const { found } = run('namespaces') as { found: unknown };
  t.same(found, { pid: 1, hostname: 'inner', loopback: true });
});

t.test('clone makes a user namespace, which unshare would be refused', async (t) => {
  const { found } = run('userNamespace') as { found: unknown };
  t.match(found, { pid: 1, uid: '65534', capable: true });
});

/** Where the version 2 tree is mounted, if it is. */
const cgroupRoot = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find(
  (path) => existsSync(`${path}/cgroup.procs`) && existsSync(`${path}/cgroup.controllers`),
);
const cgroupOnly = cgroupRoot !== undefined && process.getuid?.() === 0 ? {} : { skip: 'needs root and cgroup v2' };

t.test('clone puts the child into a cgroup at its birth', cgroupOnly, async (t) => {
  const name = `gantry-test-${randomBytes(6).toString('hex')}`;
  const path = `${cgroupRoot}/${name}`;
  mkdirSync(path);
  t.teardown(() => rmdirSync(path));
  t.equal((run('intoCgroup', path) as { found: unknown }).found, `0::/${name}`);
});

t.test('clone with shared memory is refused', async (t) => {
  t.equal(run('sharedMemoryRefused'), 'EINVAL');
});

t.test('a tmpfs is configured, mounted by descriptor and made the root', rootOnly, async (t) => {
  const { found } = run('mounts') as { found: Record<string, unknown> };
  t.match(found, {
    wrong: 'EINVAL',
    log: /tmpfs: .*no-such-option/,
    names: ['inside'],
    readOnly: 'EROFS',
    line: /nosuid.*tmpfs.*size=64k/,
    root: 0o40700,
    cwd: '/',
  });
});

t.test('execve passes arguments and environment, and says when it cannot', async (t) => {
  t.same(run('environment'), { output: 'grüß dich\nsh\n2', missing: 'ENOENT', nul: 'EINVAL' });
  t.equal(run('largeArguments'), '100000');
});

t.test('a process starts with no signal ignored and none blocked', async (t) => {
  const { before, after } = run('signals') as Record<string, string>;
  t.match(before, /SigIgn:\s+[0-9a-f]*[13579bdf][89a-f][0-9a-f]{2}/, 'SIGUSR2, and SIGPIPE by Node');
  t.match(after, /SigBlk:\s+0{16}\s+SigIgn:\s+0{16}/);
});

t.test('a pidfd signals its process and becomes readable at its end', async (t) => {
  t.same(run('killed'), {
    running: true,
    quiet: 0,
    readable: 1,
    exitStatus: 143,
    signal: 15,
    gone: 'ESRCH',
    killGone: 'ESRCH',
  });
});

t.test('ids, groups and capabilities are what was set, and there is no way back', rootOnly, async (t) => {
  const { found } = run('identity') as { found: unknown };
  const uid = '4000000000';
  t.same(found, {
    uid: [uid, uid, uid, uid].join('\t'),
    gid: '100\t100\t100\t100',
    groups: `7 ${uid}`,
    ambient: '0000010000000000',
    effective: '10000000000',
    back: 'EPERM',
    umask: [0o022, 0o077],
    noNewPrivileges: [0, 0, 1],
  });
});

t.test('limits, scheduling and session are set', async (t) => {
  const { found } = run('limits') as { found: Record<string, unknown> };
  t.match(found, { limit: [100, 200], nice: '5', session: true });
});

t.test('a seccomp filter acts in the process that installed it', async (t) => {
  const outcome = run('seccomp') as Record<string, { found?: unknown; signal: number }>;
  t.equal(outcome['denied']?.found, 'ENOSR');
  t.same(outcome['alternatives']?.found, ['ETIME', 'ETIME', 'ok']);
  t.equal(outcome['killed']?.signal, 31);
  t.same(outcome['newer']?.found, { newer: 'ENOSYS', older: 'ENODATA' });
});

t.test('the event loop works in a forked child', async (t) => {
  t.same(run('eventLoop'), { events: 'eventfd,hello', status: 0 });
});
