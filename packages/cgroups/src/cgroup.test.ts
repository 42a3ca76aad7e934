/** What every kind of host must do, on real control groups: run here (v1, hybrid) and in the virtual machine (v2). */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import t from 'tap';
import { linux, POLLIN } from '@gantry/libc';
import type { Cgroup } from './cgroup.ts';
import { detectCgroups } from './hierarchy.ts';
import { openCgroup } from './open.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const parent = `gantry-test-${randomBytes(4).toString('hex')}`;
const SIGKILL = 9;
const SIGTERM = 15;
let made = 0;

/** A new group and a way to run shell commands in it; everything is gone when the test ends. */
function fresh(t: { teardown(done: () => Promise<void>): void }) {
  const hierarchy = detectCgroups();
  const group = openCgroup(hierarchy, `/${parent}/g${made++}`);
  const children: ChildProcess[] = [];
  t.teardown(async () => {
    group.killAll(SIGKILL);
    for (const child of children) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    }
    group.remove(2000);
  });
  group.create();
  /** The command starts when the shell is in the group. */
  const run = (command: string): ChildProcess & { pid: number } => {
    const child = spawn('/bin/sh', ['-c', `read go; ${command}`], { stdio: ['pipe', 'ignore', 'ignore'] });
    children.push(child);
    const { pid } = child;
    if (pid === undefined) throw new Error('no shell');
    group.addProcess(pid);
    child.stdin?.end('go\n');
    return Object.assign(child, { pid });
  };
  return { hierarchy, group, run };
}

async function ended(child: ChildProcess): Promise<number | string> {
  if (child.exitCode === null && child.signalCode === null) {
    await once(child, 'exit', { signal: AbortSignal.timeout(20_000) });
  }
  return child.signalCode ?? child.exitCode ?? 'unknown';
}

function directories(group: Cgroup): string[] {
  return Object.values(group.paths());
}

t.test('a group is made in every hierarchy and leaves nothing behind', { skip }, async (t) => {
  const { group } = fresh(t);
  t.ok(directories(group).length > 0);
  t.ok(directories(group).every((directory) => existsSync(directory)));
  t.equal(group.exists(), true);
  group.remove(2000);
  t.equal(group.exists(), false);
  t.notOk(directories(group).some((directory) => existsSync(directory)));
  t.notOk(
    directories(group).some((directory) => existsSync(directory.slice(0, directory.lastIndexOf('/')))),
    'nor its ancestors',
  );
  group.remove(2000);
});

t.test('an ancestor that somebody else made stays', { skip }, async (t) => {
  const { hierarchy } = fresh(t);
  const foreign = `${parent}-foreign`;
  const group = openCgroup(hierarchy, `/${foreign}/ours/id`);
  const [first = ''] = directories(group);
  const ancestor = first.slice(0, first.indexOf(foreign) + foreign.length);
  mkdirSync(ancestor);
  t.teardown(() => rmdirSync(ancestor));
  group.create();
  group.remove(2000);
  t.ok(existsSync(ancestor));
  t.notOk(existsSync(`${ancestor}/ours`));
});

t.test('groups that share an ancestor can come and go in any order', { skip }, async (t) => {
  const { hierarchy } = fresh(t);
  const groups = Array.from({ length: 5 }, (_, i) => openCgroup(hierarchy, `/${parent}-shared/ns/${i}`));
  for (const group of groups) group.create();
  for (const group of groups) {
    t.ok(group.exists());
    group.remove(2000);
  }
  t.notOk(directories(groups[0] as Cgroup).some((directory) => existsSync(directory.split(`/ns/`)[0] ?? '')));
});

t.test(
  'an ancestor that somebody is just making, and that nobody can enter yet, is no obstacle',
  { skip },
  async (t) => {
    const { hierarchy, run } = fresh(t);
    const group = openCgroup(hierarchy, `/${parent}-new/ns/id`);
    const ancestors = Object.values(group.paths()).map((directory) => directory.slice(0, directory.lastIndexOf('/')));
    for (const ancestor of new Set(ancestors)) {
      mkdirSync(ancestor, { recursive: true });
      t.teardown(() => {
        rmdirSync(ancestor);
        rmdirSync(ancestor.slice(0, ancestor.lastIndexOf('/')));
      });
    }
    group.create();
    const child = run('exec sleep 30');
    group.addProcess(child.pid);
    t.same(group.pids(), [child.pid]);
    group.killAll(SIGKILL);
    await ended(child);
    group.remove(2000);
  },
);

t.test('a process and its children are members and are counted', { skip }, async (t) => {
  const { group, run } = fresh(t);
  const child = run('sleep 30 & wait');
  while (group.pids().length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  t.ok(group.pids().includes(child.pid));
  const stats = group.stats();
  t.equal(stats.metrics.pids?.current, 2n);
  t.ok(stats.metrics.cpu !== undefined && stats.metrics.memory !== undefined);
  t.throws(() => group.addProcess(2 ** 22 + 1), { code: 'not found' });
});

t.test('limits are in force and updates change what they name', { skip }, async (t) => {
  const { group } = fresh(t);
  const limits = () => {
    const { kind, metrics } = group.stats();
    return {
      memory: kind === 'v1' ? metrics.memory?.usage?.limit : metrics.memory?.usageLimit,
      pids: metrics.pids?.limit,
    };
  };
  group.apply({
    memory: { limit: 64 << 20, reservation: 32 << 20 },
    cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: '0' },
    pids: { limit: 10 },
  });
  t.strictSame(limits(), { memory: 64n << 20n, pids: 10n });
  group.update({ memory: { limit: 128 << 20 }, cpu: { quota: 20_000 }, pids: { limit: 0 } });
  t.strictSame(limits(), { memory: 128n << 20n, pids: 10n });
  group.update({ memory: { limit: -1 } });
  t.ok((limits().memory ?? 0n) > 1n << 50n, 'no limit any more');
});

t.test('a limit that the host refuses names its field', { skip }, async (t) => {
  const { group } = fresh(t);
  t.throws(() => group.apply({ cpu: { cpus: '4000-5000' } }), { message: /^linux\.resources\.cpu\.cpus: / });
  t.throws(() => group.apply({ hugepageLimits: [{ pageSize: '3MB', limit: 1 }] }), {
    code: 'failed precondition',
    message: /^linux\.resources\.hugepageLimits/,
  });
});

t.test('the number of processes is limited', { skip }, async (t) => {
  const { group, run } = fresh(t);
  group.apply({ pids: { limit: 3 } });
  const child = run('for i in 1 2 3 4 5 6; do sleep 30 & done; wait');
  const status = await ended(child);
  t.not(status, 0, 'the shell could not fork');
  t.ok(group.pids().length <= 3);
});

t.test('a share of a CPU is not exceeded', { skip }, async (t) => {
  const { group, run } = fresh(t);
  group.apply({ cpu: { quota: 10_000, period: 100_000 } });
  run('while :; do :; done');
  const used = (): number => {
    const stats = group.stats();
    return stats.kind === 'v2'
      ? Number(stats.metrics.cpu?.usageUsec ?? 0n)
      : Number(stats.metrics.cpu?.usage.total ?? 0n) / 1e3;
  };
  const throttled = (): bigint => {
    const stats = group.stats();
    return (
      (stats.kind === 'v2' ? stats.metrics.cpu?.nrThrottled : stats.metrics.cpu?.throttling.throttledPeriods) ?? 0n
    );
  };
  const startedAt = performance.now();
  const before = used();
  // A few periods in which it wanted more, however long they take to come.
  while (throttled() < 10n && performance.now() - startedAt < 60_000)
    await new Promise((next) => setTimeout(next, 100));
  const share = (used() - before) / 1e3 / (performance.now() - startedAt);
  t.ok(throttled() >= 10n, `${throttled()} periods`);
  t.ok(share < 0.2, `a tenth is allowed, it had ${share.toFixed(3)}`);
});

t.test('a frozen group stands still, and dies when it is killed', { skip }, async (t) => {
  const { group, run } = fresh(t);
  const child = run('while :; do :; done');
  group.freeze(2000);
  t.equal(group.isFrozen(), true);
  t.throws(() => openCgroup(detectCgroups(), group.path).create(), { code: 'failed precondition' });
  const before = group.stats().metrics.cpu;
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.strictSame(group.stats().metrics.cpu, before, 'no CPU time passes');
  group.thaw(2000);
  t.equal(group.isFrozen(), false);
  group.freeze(2000);
  t.equal(group.killAll(SIGKILL), 1);
  t.equal(await ended(child), 'SIGKILL');
  t.equal(group.isFrozen() && group.mode !== 'unified', false);
});

t.test('a signal reaches every process and leaves a running group running', { skip }, async (t) => {
  const { group, run } = fresh(t);
  const children = [run('exec sleep 30'), run('exec sleep 30')];
  t.equal(group.killAll(SIGTERM), 2);
  for (const child of children) t.equal(await ended(child), 'SIGTERM');
  t.equal(group.isFrozen(), false);
});

t.test('nothing outlives a kill during a fork storm, and the group can be removed', { skip }, async (t) => {
  const { group, run } = fresh(t);
  group.apply({ pids: { limit: 60 } });
  const child = run('f() { while :; do sleep 30 & f & done; }; f');
  while (group.pids().length < 20) await new Promise((resolve) => setTimeout(resolve, 5));
  t.ok(group.killAll(SIGKILL) >= 20);
  await ended(child);
  group.remove(2000);
  t.equal(group.exists(), false);
});

t.test('a group that is in use is not removed and says so in time', { skip }, async (t) => {
  const { group, run } = fresh(t);
  run('sleep 30');
  const begin = performance.now();
  t.throws(() => group.remove(50), { code: 'deadline exceeded' });
  t.ok(performance.now() - begin < 2000);
});

t.test('a kill for lack of memory is announced once and counted', { skip }, async (t) => {
  const { group, run } = fresh(t);
  group.apply({ memory: { limit: 8 << 20, swap: 8 << 20 } });
  const watch = group.watchOom();
  t.equal(watch.read(), 0);
  const child = run('x=0123456789abcdef; while :; do x=$x$x; done');
  t.equal(await ended(child), 'SIGKILL');
  const [ready] = linux.poll([{ fd: watch.fd, events: POLLIN }], 5000);
  t.not(ready, 0, 'the descriptor is readable');
  t.equal(watch.read(), 1);
  t.equal(watch.read(), 0);
  t.equal(group.oomKills(), 1);
  watch.close();
  watch.close();
});

const skipDevices = existsSync('/dev/kmsg') ? skip : 'needs /dev/kmsg';

t.test('devices are denied unless they are allowed', { skip: skipDevices }, async (t) => {
  const open = (path: string) => `exec 3<${path}`;
  const denied = fresh(t);
  denied.group.apply({});
  t.equal(await ended(denied.run(open('/dev/null'))), 0);
  t.not(await ended(denied.run(open('/dev/kmsg'))), 0);
  const allowed = fresh(t);
  allowed.group.apply({
    devices: [
      { allow: false, access: 'rwm' },
      { allow: true, type: 'c', major: 1, minor: 11, access: 'r' },
    ],
  });
  t.equal(await ended(allowed.run(open('/dev/kmsg'))), 0);
  t.not(await ended(allowed.run('exec 3>/dev/kmsg')), 0, 'reading only');
  allowed.group.apply({ devices: [] });
  t.not(await ended(allowed.run(open('/dev/kmsg'))), 0, 'new rules replace the old ones');
  const everything = fresh(t);
  everything.group.apply({ devices: [{ allow: true, access: 'rwm' }] });
  t.equal(await ended(everything.run(open('/dev/kmsg'))), 0);
});

t.test('a forked process can join by itself and be cloned into the v2 tree', { skip }, async (t) => {
  const { group } = fresh(t);
  const script = `
    import { linux } from '@gantry/libc';
    import { detectCgroups, openCgroup, ownCgroupPaths } from '@gantry/cgroups';
    const group = openCgroup(detectCgroups(), ${JSON.stringify(group.path)});
    const inside = (pid) => [...ownCgroupPaths(pid).values()].filter((path) => path === group.path).length;
    for (const into of [group.cloneIntoFd(), undefined]) {
      const pid = into === undefined ? linux.fork() : linux.clone(0, into);
      if (pid === 0) {
        group.joinSelf({ unifiedDone: into !== undefined });
        linux.exitNow(inside('self') === ${directories(group).length} ? 7 : 8);
      }
      const { exitStatus } = linux.wait4(pid, 0);
      if (exitStatus !== 7) process.exit(1);
    }
  `;
  const node = spawn(process.execPath, ['--single-threaded', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'ignore', 'inherit'],
    cwd: import.meta.dirname,
  });
  t.equal(await ended(node), 0);
});

t.test('a relative path is below the own group of the caller', { skip }, async (t) => {
  const paths = openCgroup(detectCgroups(), 'below/me').paths();
  t.ok(Object.values(paths).every((path) => path.endsWith('/below/me')));
});
