/**
 * Attacks on the runtime that have worked elsewhere, each carried out by a hostile root file system or a hostile process
 * in the container. The names are those of the record.
 */
import t from 'tap';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  mkdtempSync,
  lstatSync,
} from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { linux, openSealedExecutable, SIGKILL } from '@gantry/libc';
import type { Process } from '@gantry/oci';
import { Bundle, whyNotReal } from './testing/scenario.ts';
import type { Step, TestSpec } from './testing/scenario.ts';

const skip = whyNotReal() ?? false;
const once: readonly Step[] = [{ do: 'start' }, { do: 'wait' }, { do: 'destroy' }];
const end: readonly Step[] = [{ do: 'kill', signal: SIGKILL }, { do: 'wait' }, { do: 'destroy' }];

type Teardown = { teardown(done: () => void): void };

function bundle(t: Teardown): Bundle {
  const made = new Bundle();
  t.teardown(() => made.remove());
  return made;
}

/** A directory of the host that nothing may touch, with a function that shows what is in it. */
function victim(t: Teardown): { dir: string; look: () => unknown } {
  const dir = mkdtempSync(join(tmpdir(), 'gantry-victim-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'file'), 'untouched');
  mkdirSync(join(dir, 'pts'));
  const look = (): unknown =>
    readdirSync(dir, { recursive: true })
      .map(String)
      .toSorted()
      .map((name) => {
        const { mode, uid, size } = lstatSync(join(dir, name));
        return [name, mode, uid, size];
      });
  return { dir, look };
}

function processOf(args: readonly string[], more: Partial<Process> = {}): Process {
  return { args, cwd: '/', env: ['PATH=/bin'], user: { uid: 0, gid: 0 }, ...more };
}

for (const [name, target] of [
  ['proc', '/tmp'],
  ['sys', '/tmp'],
] as const) {
  t.test(`CVE-2023-27561: /${name} of the image is a symlink`, { skip }, (t) => {
    const b = bundle(t);
    rmSync(join(b.rootfs, name), { recursive: true });
    symlinkSync(target, join(b.rootfs, name));
    const result = b.run({ spec: b.spec(['true']), steps: once });
    t.match(result.error?.message, /must be mounted on ordinary directory/);
    t.same(result.leaks, []);
    t.end();
  });
}

t.test('CVE-2019-19921: a volume over /proc', { skip }, (t) => {
  const b = bundle(t);
  const spec = b.spec(['true'], (spec) => {
    spec.mounts = [{ destination: '/proc', type: 'bind', source: b.dir, options: ['rbind'] }];
  });
  t.match(b.run({ spec, steps: once }).error?.message, /not of type proc/);
  t.end();
});

t.test('CVE-2025-31133: /dev/null of the image is a symlink, with nothing mounted on /dev', { skip }, (t) => {
  const b = bundle(t);
  symlinkSync('/proc/sys/kernel/core_pattern', join(b.rootfs, 'dev/null'));
  const spec = b.spec(['true'], (spec) => {
    spec.mounts = spec.mounts.filter(({ destination }) => !destination.startsWith('/dev'));
  });
  const result = b.run({ spec, steps: once });
  t.match(result.error?.message, /device \/dev\/null: something else is there already/);
  t.same(result.leaks, []);
  t.end();
});

t.test('CVE-2026-41579: /dev of the image is a symlink to a directory of the host', { skip }, (t) => {
  const b = bundle(t);
  const { dir, look } = victim(t);
  const before = look();
  rmSync(join(b.rootfs, 'dev'), { recursive: true });
  symlinkSync(dir, join(b.rootfs, 'dev'));
  for (const terminal of [false, true]) {
    const spec = b.spec(['true'], (spec) => {
      spec.process.terminal = terminal;
      spec.mounts = spec.mounts.filter(({ destination }) => !destination.startsWith('/dev'));
    });
    const result = b.run({ spec, steps: once });
    t.match(result.error?.message, /is a symlink/);
    t.same(result.leaks, []);
  }
  t.same(look(), before);
  t.end();
});

t.test('CVE-2025-52565: /dev/console of the image is a symlink', { skip }, (t) => {
  const b = bundle(t);
  const { dir, look } = victim(t);
  const before = look();
  symlinkSync(join(dir, 'file'), join(b.rootfs, 'dev/console'));
  mkdirSync(join(b.rootfs, 'dev/pts'));
  const spec = b.spec(['true'], (spec) => {
    spec.process.terminal = true;
    spec.mounts = spec.mounts.filter(
      ({ destination }) => destination !== '/dev' && destination !== '/dev/shm' && destination !== '/dev/mqueue',
    );
  });
  const result = b.run({ spec, steps: once });
  t.ok(result.error, JSON.stringify(result));
  t.same(result.leaks, []);
  t.same(look(), before);
  t.end();
});

t.test('mount targets that lead out of the image end inside it', { skip }, (t) => {
  const b = bundle(t);
  const { dir, look } = victim(t);
  const before = look();
  symlinkSync(dir, join(b.rootfs, 'absolute'));
  symlinkSync(`../../../../../../../..${dir}`, join(b.rootfs, 'climbing'));
  const spec = b.spec(['sh', '-c', 'ls -d /absolute/a /climbing/b'], (spec) => {
    spec.mounts.push(
      { destination: '/absolute/a', type: 'tmpfs', source: 'tmpfs' },
      { destination: '/climbing/b', type: 'tmpfs', source: 'tmpfs' },
      { destination: '/../../../../outside', type: 'tmpfs', source: 'tmpfs' },
    );
  });
  const result = b.run({ spec, steps: once });
  t.equal(result.steps[1]?.status, 0, JSON.stringify(result));
  t.same(look(), before);
  t.same(result.leaks, []);
  t.end();
});

t.test('a mount target behind a descriptor of the runtime is refused', { skip }, (t) => {
  const b = bundle(t);
  symlinkSync('/proc/self/fd/3', join(b.rootfs, 'magic'));
  symlinkSync('/proc/self/cwd', join(b.rootfs, 'magic-cwd'));
  for (const destination of ['/magic/x', '/magic-cwd/x']) {
    const spec = b.spec(['true'], (spec) => void spec.mounts.push({ destination, type: 'tmpfs', source: 'tmpfs' }));
    const result = b.run({ spec, steps: once });
    t.ok(result.error, JSON.stringify(result));
    t.same(result.leaks, []);
  }
  t.end();
});

t.test('CVE-2024-21626: no working directory behind any descriptor, for run and exec', { skip }, (t) => {
  const b = bundle(t);
  for (const n of [0, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30]) {
    const spec = b.spec(['pwd'], (spec) => (spec.process.cwd = `/proc/self/fd/${n}`));
    t.ok(b.run({ spec, steps: once }).error, `run in descriptor ${n}`);
  }
  const execs = Array.from({ length: 40 }, (_, n): Step => ({
    do: 'exec',
    process: processOf(['pwd'], { cwd: `/proc/self/fd/${n + 3}` }),
  }));
  const result = b.run({ spec: b.spec(['sleep', '100']), steps: [{ do: 'start' }, ...execs, ...end] });
  t.same(
    result.steps.slice(1, 41).filter(({ error }) => error === undefined),
    [],
  );
  t.same(result.leaks, []);
  t.end();
});

t.test('CVE-2024-9676: /etc/passwd of the image is a fifo, a device, a link out', { skip }, (t) => {
  const b = bundle(t);
  const { dir } = victim(t);
  writeFileSync(join(dir, 'passwd'), 'root:x:0:0:root:/stolen:/bin/sh\n');
  const attacks: readonly ((path: string) => void)[] = [
    (path) => symlinkSync('/dev/zero', path),
    (path) => symlinkSync(join(dir, 'passwd'), path),
    (path) => symlinkSync('/proc/self/fd/0', path),
    (path) => mkdirSync(path),
  ];
  for (const attack of attacks) {
    const path = join(b.rootfs, 'etc/passwd');
    rmSync(path, { recursive: true, force: true });
    attack(path);
    const { output, status, result } = b.runOnce(['sh', '-c', 'echo $HOME']);
    t.equal(status, 0, JSON.stringify(result));
    t.equal(output, '/\n');
  }
  t.end();
});

t.test('CVE-2026-15809: a home directory with control characters is not passed on', { skip }, (t) => {
  const b = bundle(t);
  writeFileSync(join(b.rootfs, 'etc/passwd'), 'root:x:0:0:root:/ro\rot:/bin/sh\n');
  t.equal(b.runOnce(['sh', '-c', 'echo $HOME']).output, '/\n');
  t.end();
});

t.test('CVE-2022-24769: no inheritable capabilities, for run and exec', { skip }, (t) => {
  const b = bundle(t);
  const show = ['grep', 'CapInh', '/proc/self/status'];
  const result = b.run({
    spec: b.spec(['sh', '-c', `${show.join(' ')}; sleep 100`]),
    steps: [{ do: 'start' }, { do: 'sleep', ms: 100 }, { do: 'exec', process: processOf(show) }, ...end],
  });
  t.match(result.output, /CapInh:\t0{16}/);
  t.match(result.steps[2]?.output, /CapInh:\t0{16}/);
  t.end();
});

/** Tries to look into every process it can see that is not its own, for as long as it runs. */
const spy = [
  'while true; do for p in /proc/[0-9]*; do',
  '  [ $p = /proc/1 -o $p = /proc/$$ ] && continue',
  '  exe=$(readlink $p/exe 2>/dev/null); case "$exe" in *busybox*|"") ;; *) echo "exe $exe" ;; esac',
  '  for fd in $p/fd/*; do case "$(readlink $fd 2>/dev/null)" in socket:*) echo "socket $fd" ;; esac; done',
  'done; done',
].join('\n');

t.test(
  'CVE-2016-9962 and CVE-2019-5736: a process that enters cannot be looked into from the container',
  { skip },
  (t) => {
    for (const change of [() => undefined, withOwnUsers]) {
      const b = bundle(t);
      const execs = Array.from({ length: 30 }, (): Step => ({ do: 'exec', process: processOf(['true']) }));
      const result = b.run({
        spec: b.spec(['sh', '-c', spy], change),
        steps: [{ do: 'start' }, { do: 'sleep', ms: 200 }, ...execs, ...end],
      });
      t.same(
        result.steps.slice(2, 32).filter(({ status }) => status !== 0),
        [],
      );
      t.equal(result.output, '');
      t.same(result.leaks, []);
    }
    t.end();
  },
);

function withOwnUsers(spec: TestSpec): void {
  spec.linux.namespaces?.push({ type: 'user' });
  spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
  spec.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
}

t.test('CVE-2019-5736: the runtime’s own binary is not executed as a program of the image', { skip }, (t) => {
  const b = bundle(t);
  const before = sha256(process.execPath);
  writeFileSync(join(b.rootfs, 'bin/again'), '#!/proc/self/exe\n', { mode: 0o755 });
  symlinkSync('/proc/self/exe', join(b.rootfs, 'bin/self'));
  for (const program of ['/bin/again', '/bin/self', '/proc/self/exe']) {
    const result = b.run({ spec: b.spec([program, '-e', '0']), steps: once });
    const started = result.error === undefined && result.steps[0]?.error === undefined;
    t.notOk(started, `${program}: the host's binary was executed in the container`);
    const viaExec = b.run({
      spec: b.spec(['sleep', '100']),
      steps: [{ do: 'start' }, { do: 'exec', process: processOf([program, '-e', '0']) }, ...end],
    });
    t.ok(viaExec.steps[1]?.error, `${program}: the host's binary was executed in the container by exec`);
  }
  t.equal(sha256(process.execPath), before);
  t.end();
});

t.test('CVE-2019-5736: a runtime that runs from a sealed view cannot be opened for writing', { skip }, (t) => {
  const b = bundle(t);
  const empty = mkdtempSync(join(tmpdir(), 'gantry-empty-'));
  t.teardown(() => rmSync(empty, { recursive: true }));
  const fd = openSealedExecutable(linux, realpathSync(process.execPath), empty);
  t.teardown(() => linux.close(fd));
  // The test looks from outside with all privileges, which is more than any container has.
  const open = 'echo x 2>&1 >>/proc/$1/exe';
  const look: Step = { do: 'host', command: ['sh', '-c', open, 'sh', 'PID'] };
  const result = b.run({ spec: b.spec(['true']), steps: [look, ...end] }, `/proc/${process.pid}/fd/${fd}`);
  t.match(result.steps[0]?.output, /Read-only file system/, JSON.stringify(result));
  t.same(result.leaks, []);
  t.end();
});

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
