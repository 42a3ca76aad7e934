/** Hooks of all kinds, by runc and by gantry-runtime: who is called when, where, and with what. */
import t from 'tap';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { hookKinds } from '@gantry/oci';
import type { Hook, HookKind } from '@gantry/oci';
import { missing, RuntimeBench, sentences } from '../index.ts';
import type { TestSpec } from '../index.ts';

const skip = missing('runc') ?? false;
const both = ['runc', 'gantry'] as const;

t.setTimeout(240_000);

/** A shell on the side where the hook runs. */
function shell(script: string, timeout?: number): Hook {
  return {
    path: '/bin/sh',
    args: ['sh', '-c', script],
    env: ['PATH=/usr/bin:/bin', 'ONLY=this'],
    ...(timeout === undefined ? {} : { timeout }),
  };
}

function setHooks(spec: TestSpec, hooks: Partial<Record<HookKind, Hook[]>>): void {
  spec.hooks = hooks as NonNullable<TestSpec['hooks']>;
}

/** What a hook says of itself: its kind, its state, its environment, whether it sees the host's or the container's root. */
function telling(kind: HookKind, log: string): Hook {
  const root = `if [ ! -e /usr/bin/env ]; then echo container; else echo host; fi`;
  return shell(`{ echo ${kind}; cat; echo; env | grep ONLY; ${root}; hostname; } >> ${log}`);
}

t.test('every kind is called in its place with the state', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const log = path.join(bench.dir, 'log');
  const inside = path.join(bench.rootfs, 'tmp/log');
  const told = both.map((name) => {
    for (const file of [log, inside]) rmSync(file, { force: true });
    bench.configure(
      bench.spec(['sh', '-c', 'echo program >> /tmp/log'], (spec) => {
        spec.annotations = { key: 'value' };
        const hooks = hookKinds.map((kind) => [kind, [telling(kind, kind === 'startContainer' ? '/tmp/log' : log)]]);
        setHooks(spec, Object.fromEntries(hooks) as Partial<Record<HookKind, Hook[]>>);
      }),
    );
    t.equal(bench.call(name, ['run', 'hooked']).code, 0, name);
    const text = readFileSync(log, 'utf8') + readFileSync(inside, 'utf8');
    // Runc has the program run and still says `created` to poststart hooks.
    return text
      .replaceAll(/(poststart\n.*"status":)"created"/g, '$1"running"')
      .replaceAll(/"pid":[1-9]\d*/g, '"pid":N')
      .replaceAll(/"ociVersion":"[^"]*",?/g, '');
  });
  t.equal(told[1], told[0]);
  const kinds = told[1]?.match(/^(?:prestart|create\w+|start\w+|poststart|poststop|program)$/gm);
  t.same(kinds, ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop', 'startContainer', 'program']);
  t.end();
});

t.test('a hook that fails ends what it belongs to', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const marks = path.join(bench.dir, 'marks');
  for (const kind of hookKinds) {
    const answers = both.map((name) => {
      rmSync(marks, { force: true });
      bench.configure(
        bench.spec(['true'], (spec) => {
          setHooks(spec, {
            [kind]: [shell('echo complaint >&2; exit 7'), shell(`echo second > ${marks}`)],
            ...(kind === 'poststop' ? {} : { poststop: [shell(`echo poststop > ${marks}`)] }),
          });
        }),
      );
      const { code, stderr } = bench.call(name, ['run', 'hooked']);
      const text = sentences(stderr).join(' ');
      const left = bench.call(name, ['list', '-q']).stdout;
      return {
        failed: code !== 0,
        marks: existsSync(marks) ? readFileSync(marks, 'utf8') : '',
        names: /hook #0/.test(text) && /exit status 7/.test(text) && /complaint/.test(text),
        left,
      };
    });
    const [runc, ours] = answers;
    // Runc says nothing of a startContainer hook's failure: whoever called start does not learn why the container ended.
    const wanted =
      kind === 'startContainer'
        ? { ...runc, failed: true, names: true }
        : // One that fails at the end is a warning and keeps the others back in runc only.
          kind === 'poststop'
          ? { ...runc, marks: 'second\n', names: false }
          : runc;
    t.same(ours, wanted, kind);
  }
  t.end();
});

t.test('a hook that takes too long is killed', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  for (const kind of ['createRuntime', 'createContainer', 'startContainer', 'poststart'] as const) {
    bench.configure(bench.spec(['sleep', '100'], (spec) => setHooks(spec, { [kind]: [shell('sleep 100', 1)] })));
    const begin = Date.now();
    const { code, stderr } = bench.call('gantry', ['run', 'slow']);
    t.equal(code, 1, kind);
    t.match(stderr, /hook #0: hook ran past specified timeout of 1\.0s/);
    t.ok(Date.now() - begin < 15_000);
    t.equal(bench.call('gantry', ['list', '-q']).stdout, '');
  }
  t.end();
});

t.test('hooks get no descriptor but the three, and much input', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const log = path.join(bench.dir, 'log');
  const hook = shell(`wc -c >> ${log}; ls /proc/self/fd | wc -l >> ${log}`);
  bench.configure(
    bench.spec(['true'], (spec) => {
      spec.annotations = { long: 'x'.repeat(300_000) };
      setHooks(spec, { prestart: [hook], createContainer: [hook], poststart: [hook], poststop: [hook] });
    }),
  );
  t.equal(bench.call('gantry', ['run', 'big']).code, 0);
  const numbers = readFileSync(log, 'utf8').trim().split('\n').map(Number);
  t.equal(numbers.length, 8);
  for (const [index, number] of numbers.entries()) {
    // ls itself has the directory open.
    if (index % 2 === 0) t.ok(number > 300_000);
    else t.equal(number, 4);
  }
  t.end();
});

t.test('a hook that mounts into the root before the roots are exchanged is seen in the container', { skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  for (const name of both) {
    bench.configure(
      bench.spec(['sh', '-c', 'cat /mnt/from-hook; grep -c /mnt /proc/self/mountinfo'], (spec) => {
        const script = `mount -t tmpfs tmpfs ${bench.rootfs}/mnt && echo hello > ${bench.rootfs}/mnt/from-hook`;
        setHooks(spec, { createContainer: [shell(script)] });
      }),
    );
    t.equal(bench.call(name, ['run', 'mounted']).stdout, 'hello\n1\n', name);
    t.notOk(existsSync(path.join(bench.rootfs, 'mnt/from-hook')), 'the host does not see it');
  }
  t.end();
});
