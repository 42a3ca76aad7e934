/**
 * Attacks on gantry-runtime from all sides it can be reached from: the words of a call, what the bundle holds, what the
 * caller's own process carries, and the container. Those by symlinks are in runtime/src/escapes.test.ts, those by races in
 * runtime/src/races.test.ts.
 */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { checkout, missing, RuntimeBench } from '../index.ts';
import type { TestSpec } from '../index.ts';

const skip = missing('runc') ?? false;

t.setTimeout(240_000);

function running(t: { teardown(done: () => void): unknown }, change?: (spec: TestSpec) => void): RuntimeBench {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  bench.configure(bench.spec(['sleep', '1000'], change));
  const { code, stderr } = bench.callDetached('gantry', ['run', '-d', 'box']);
  if (code !== 0) throw new Error(stderr);
  return bench;
}

t.test('CVE-2026-30892: the user of an exec is exactly who was named, or nobody', { skip }, (t) => {
  const bench = running(t);
  for (const [word, wanted] of [
    ['1', '1 0'],
    ['01', undefined],
    ['1:', undefined],
    [':1', undefined],
    ['1:2', '1 2'],
    ['+1', undefined],
    ['-1', undefined],
    ['4294967295', undefined],
    ['4294967296', undefined],
    ['4294967297', undefined],
    ['1x', undefined],
    ['1e3', undefined],
    ['1:2:3', undefined],
    ['1:4294967296', undefined],
    ['web', undefined],
  ] as const) {
    const { code, stdout } = bench.call('gantry', [
      'exec',
      '--user',
      word,
      'box',
      'sh',
      '-c',
      'echo $(id -u) $(id -g)',
    ]);
    if (code === 0) t.equal(stdout.trim(), wanted, JSON.stringify(word));
    else t.equal(wanted, undefined, `${JSON.stringify(word)} is refused`);
  }
  t.end();
});

t.test('the group of an exec is below the container’s', { skip }, (t) => {
  const bench = running(t);
  for (const place of ['../x', '/..', 'a/../../b', '/../c2', 'pids:../x']) {
    const { code, stdout } = bench.call('gantry', ['exec', '--cgroup', place, 'box', 'cat', '/proc/self/cgroup']);
    t.not(code, 0, `${place}: ${stdout}`);
  }
  t.end();
});

t.test('CVE-2021-43784: a configuration of absurd size is an error or works, and nothing is left', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const outcome = (change: (spec: TestSpec) => void) => {
    bench.configure(bench.spec(['sh', '-c', 'echo fine'], change));
    const { code, stdout, stderr } = bench.call('gantry', ['run', 'box']);
    t.ok(code === 0 ? stdout === 'fine\n' : /level=error msg=/.test(stderr), `${code} ${stderr.slice(0, 300)}`);
    t.notMatch(stderr, /TypeError|RangeError|\n +at /);
    t.equal(bench.call('gantry', ['list', '-q']).stdout, '');
    return code;
  };
  const many = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ containerID: index, hostID: 100_000 + index, size: 1 }));
  const mapped = (count: number) =>
    outcome((spec) => {
      spec.linux.namespaces?.push({ type: 'user' });
      spec.linux.uidMappings = many(count);
      spec.linux.gidMappings = many(count);
    });
  spawnSync('chown', ['-R', '100000:100000', bench.dir]);
  t.not(mapped(10_000), 0, 'the kernel takes 340 lines');
  mapped(340);
  outcome(
    (spec) =>
      void spec.process.env?.push(...Array.from({ length: 40 }, (_, index) => `V${index}=${'x'.repeat(100_000)}`)),
  );
  outcome((spec) => (spec.process.args = ['sh', '-c', 'echo fine', ...Array.from({ length: 50_000 }, () => 'x')]));
  outcome((spec) => (spec.process.args = ['sh', '-c', 'echo fine', 'x'.repeat(200_000)]));
  outcome((spec) => (spec.hostname = 'h'.repeat(100)));
  outcome((spec) => (spec.linux.maskedPaths = Array.from({ length: 2000 }, (_, index) => `/masked/${index}`)));
  outcome((spec) => {
    spec.annotations = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`k${index}`, 'v'.repeat(100)]));
  });
  t.end();
});

t.test('nothing of the bundle or the image becomes a part of the runtime', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const marker = path.join(bench.dir, 'executed');
  const evil = `require('fs').writeFileSync(${JSON.stringify(marker)}, '')`;
  for (const top of [bench.bundle, bench.rootfs, bench.dir]) {
    for (const name of ['koffi', '@gantry/libc', '@gantry/oci']) {
      mkdirSync(path.join(top, 'node_modules', name), { recursive: true });
      writeFileSync(path.join(top, 'node_modules', name, 'index.js'), evil);
      writeFileSync(path.join(top, 'node_modules', name, 'package.json'), '{"main":"index.js"}');
    }
    writeFileSync(path.join(top, 'package.json'), '{"type":"module"}');
    writeFileSync(path.join(top, '.noderc'), '--require ./evil.js');
    writeFileSync(path.join(top, 'evil.js'), evil);
  }
  mkdirSync(path.join(bench.rootfs, 'lib'), { recursive: true });
  for (const name of ['libc.so.6', 'libseccomp.so.2', 'ld.so.preload']) {
    writeFileSync(path.join(bench.rootfs, 'lib', name), 'not a library');
    writeFileSync(path.join(bench.rootfs, 'etc', name), '/lib/libseccomp.so.2');
  }
  const inner = { NODE_OPTIONS: `--require ${path.join(bench.bundle, 'evil.js')}`, LD_PRELOAD: '/lib/libc.so.6' };
  const env = Object.entries(inner).map(([name, value]) => `${name}=${value}`);
  bench.configure(bench.spec(['sleep', '1000'], (spec) => void spec.process.env?.push(...env)));
  t.equal(bench.callDetached('gantry', ['run', '-d', 'box']).code, 0);
  const words = env.flatMap((one) => ['--env', one]);
  const exec = bench.call('gantry', ['exec', ...words, 'box', 'sh', '-c', 'echo $NODE_OPTIONS']);
  t.match(exec.stdout, /--require/, 'the container’s own environment is the container’s');
  t.equal(bench.call('gantry', ['delete', '--force', 'box']).code, 0);
  t.notOk(existsSync(marker));
  t.end();
});

t.test('the pid file replaces what is there and never follows it', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const victim = path.join(bench.dir, 'victim');
  writeFileSync(victim, 'untouched');
  const file = path.join(bench.rootfs, 'pid');
  symlinkSync(victim, file);
  bench.configure(bench.spec(['sleep', '1000']));
  t.equal(bench.callDetached('gantry', ['run', '-d', '--pid-file', file, 'box']).code, 0);
  t.match(readFileSync(file, 'utf8'), /^\d+$/);
  t.notOk(lstatSync(file).isSymbolicLink());
  t.equal(readFileSync(victim, 'utf8'), 'untouched');
  t.end();
});

t.test('hooks of the host are the host’s programs, whatever the image has at their path', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const log = path.join(bench.dir, 'log');
  const hook = path.join(bench.dir, 'hook');
  writeFileSync(hook, `#!/bin/sh\necho "$1 of the host" >> ${log}\n`, { mode: 0o755 });
  mkdirSync(path.join(bench.rootfs, path.dirname(hook)), { recursive: true });
  const evil = path.join(bench.rootfs, hook);
  writeFileSync(evil, `#!/bin/sh\necho "$1 of the image" >> /said\n`, { mode: 0o755 });
  chmodSync(evil, 0o755);
  // The directory hooks are run in belongs to the image as well.
  for (const name of ['sh', 'cat', 'echo', 'ld.so.preload'])
    writeFileSync(path.join(bench.rootfs, name), '#!/bin/false\n');
  const kinds = ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop'] as const;
  bench.configure(
    bench.spec(['true'], (spec) => {
      spec.hooks = {
        ...Object.fromEntries(kinds.map((kind) => [kind, [{ path: hook, args: ['hook', kind] }]])),
        startContainer: [{ path: hook, args: ['hook', 'startContainer'] }],
      };
    }),
  );
  const { code, stderr } = bench.call('gantry', ['run', 'box']);
  t.equal(code, 0, stderr);
  t.same(
    readFileSync(log, 'utf8').trim().split('\n'),
    kinds.map((kind) => `${kind} of the host`),
  );
  t.equal(readFileSync(path.join(bench.rootfs, 'said'), 'utf8'), 'startContainer of the image\n');
  t.end();
});

t.test('a container does not get out of its control groups', { skip }, (t) => {
  const attempt = [
    'for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release -o -name cgroup.procs -o -name tasks -o -name memory.max -o -name memory.limit_in_bytes -o -name devices.allow); do',
    '  (echo a > $f) 2>/dev/null && echo "wrote $f"',
    'done',
    'mkdir /sys/fs/cgroup/*/x 2>/dev/null && echo "made a group"',
    'mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo "remounted"',
    'mkdir /tmp/g; for t in cgroup cgroup2; do mount -t $t -o memory x /tmp/g 2>/dev/null && echo "mounted $t"; done',
    'umount /sys/fs/cgroup 2>/dev/null && echo "unmounted"',
    'echo done',
  ].join('\n');
  for (const extra of [[], [{ type: 'cgroup' }] as const]) {
    const bench = new RuntimeBench();
    t.teardown(() => void bench.remove());
    bench.configure(
      bench.spec(['sh', '-c', attempt], (spec) => {
        const options = ['ro', 'nosuid', 'noexec', 'nodev'];
        spec.mounts.push({ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options });
        spec.linux.namespaces?.push(...extra);
      }),
    );
    const { stdout, stderr } = bench.call('gantry', ['run', 'box']);
    t.equal(stdout, 'done\n', stderr);
  }
  t.end();
});

t.test('limits and descriptors of the caller are not the container’s', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const secret = path.join(bench.dir, 'secret');
  mkdirSync(secret);
  bench.configure(bench.spec(['sh', '-c', 'ulimit -Sn; ulimit -Hn; ulimit -Sc; ls /proc/self/fd | wc -l']));
  // Node raises its own limit of open files when it starts.
  const script = `exec 7<${secret} 8>${secret}/file; ulimit -Sn 300; ulimit -Hn 700; ulimit -c 0; exec "$@"`;
  const inherited = bench.callThroughShell(script, 'gantry', ['run', 'box']);
  const peer = bench.callThroughShell(script, 'runc', ['run', 'box']);
  // As Go does, and runc of that time with it.
  t.match(inherited.stdout, /^700\n700\n0\n4\n$/, inherited.stderr);
  t.equal(inherited.stdout, peer.stdout, 'as under runc');
  t.end();
});

t.test('keys of the caller are out of the container’s reach, and not those of another container', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const program = path.join(checkout, 'packages/libc/dist/test-programs/hidden-keyring.js');
  // Keys are everybody's on a machine: names that nobody else has.
  const mark = path.basename(bench.dir).toLowerCase();
  const underSecret = (command: string, words: readonly string[]) => {
    const args = [program, `secret-${mark}`, command, ...words];
    return spawnSync(process.execPath, args, { encoding: 'utf8', cwd: bench.bundle }).stdout;
  };
  t.match(underSecret('cat', ['/proc/keys']), `secret-${mark}`, 'who possesses it sees it');
  for (const extra of [[], ['--no-new-keyring']]) {
    bench.configure(bench.spec(['cat', '/proc/keys'], (spec) => (spec.linux.maskedPaths = [])));
    const id = `${mark}-${extra.length}`;
    const keys = underSecret(...bench.command('gantry', ['run', ...extra, id]));
    // Asked for, the keyring of the caller is kept.
    t.equal(keys.includes(`secret-${mark}`), extra.length > 0, keys);
    t.equal(keys.includes(`_ses.${id}`), extra.length === 0, keys);
  }
  t.end();
});
