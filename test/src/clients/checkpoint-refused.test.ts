/**
 * `gantry-runtime checkpoint` and `restore` where they cannot succeed: wrong use, answered as runc answers it, and a criu
 * that is missing, fails, dies half-way or talks nonsense. The container runs on as before, and nothing is left. Needs no
 * working criu; what succeeds is shown in test/src/vm/checkpoint.test.ts.
 */
import t from 'tap';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { detectCgroups, openCgroup } from '@gantry/cgroups';
import { missing, RuntimeBench, sentences, until } from '../index.ts';
import type { RuntimeResult } from '../index.ts';

const skip = missing('busybox') ?? false;

t.setTimeout(240_000);

/** A container that writes numbers into a file of the host. */
class Counter {
  readonly bench = new RuntimeBench();
  readonly #out = path.join(this.bench.dir, 'out-dir');

  start(): RuntimeResult {
    mkdirSync(this.#out);
    const script = 'i=0; while true; do i=$((i+1)); echo $i > /out/n; sleep 0.05; done';
    this.bench.configure(
      this.bench.spec(['sh', '-c', script], (spec) => {
        spec.mounts.push({ destination: '/out', type: 'bind', source: this.#out, options: ['rbind'] });
      }),
    );
    return this.bench.callDetached('gantry', ['run', '-d', 'box']);
  }

  get count(): number {
    const file = path.join(this.#out, 'n');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  }

  /** Resolves when it has counted on. */
  async counts(): Promise<void> {
    const seen = this.count;
    await until('the container counts on', () => this.count > seen + 1, 60_000);
  }

  state(): { readonly status: string; readonly pid: number } {
    const { status, pid } = JSON.parse(this.bench.call('gantry', ['state', 'box']).stdout) as Record<string, unknown>;
    return { status: String(status), pid: Number(pid) };
  }

  /** A program that takes criu's place. */
  program(name: string, body: string): string {
    const file = path.join(this.bench.dir, name);
    writeFileSync(file, `#!/bin/bash\n${body}\n`, { mode: 0o755 });
    return file;
  }

  /** The command by which a program freezes the container's group, as criu does before it dumps. */
  freezing(): string {
    const paths = openCgroup(detectCgroups(), `/${this.bench.group}/c`).paths();
    const { freezer, '': unified } = paths;
    return freezer === undefined
      ? `echo 1 > ${unified}/cgroup.freeze; until grep -q 'frozen 1' ${unified}/cgroup.events; do sleep 0.02; done`
      : `echo FROZEN > ${freezer}/freezer.state; until grep -q FROZEN ${freezer}/freezer.state; do sleep 0.02; done`;
  }
}

t.test('a criu that fails leaves the container as it was and says why', { skip }, async (t) => {
  const counter = new Counter();
  const { bench } = counter;
  t.teardown(() => void bench.remove());
  t.equal(counter.start().code, 0);
  await counter.counts();
  const before = counter.state();
  const images = path.join(bench.dir, 'images');
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['silent', 'exit 3', /criu failed: exit status 3: no reason given \(log file: \S+dump\.log\)/],
    ['complaining', 'echo "Error (criu/x.c:1): no such feature" >&2; exit 1', /no such feature/],
    ['killed', 'kill -KILL $$', /criu failed: killed by signal 9/],
    ['freezing and killed', `${counter.freezing()}; kill -KILL $$`, /killed by signal 9/],
    ['talking nonsense', String.raw`printf '\377\377' >&$2; sleep 1`, /malformed answer/],
    ['logging', `echo "(00.1) Error (criu/y.c:2): bad luck" > ${images}/dump.log; exit 1`, /criu\/y\.c:2\): bad luck/],
  ];
  for (const [name, body, words] of cases) {
    const criu = counter.program(name.replaceAll(' ', '-'), body);
    const { code, stderr } = bench.call('gantry', ['--criu', criu, 'checkpoint', '--image-path', images, 'box']);
    t.equal(code, 1, name);
    t.match(sentences(stderr)[0], words, name);
    await counter.counts();
    t.same(counter.state(), before, `${name}: the same process runs`);
  }
  const absent = bench.call('gantry', ['--criu', '/no/criu', 'checkpoint', '--image-path', images, 'box']);
  t.match(sentences(absent.stderr)[0], /criu.*"\/no\/criu": no such program/);
  await counter.counts();
  t.equal(bench.call('gantry', ['kill', 'box', 'KILL']).code, 0);
  t.same(bench.remove(), [], 'no control group is left');
});

t.test('a restore that fails leaves nothing', { skip }, (t) => {
  const counter = new Counter();
  const { bench } = counter;
  t.teardown(() => void bench.remove());
  mkdirSync(path.join(bench.dir, 'source'));
  bench.configure(
    bench.spec(['sleep', '1000'], (spec) => {
      spec.mounts.push({
        destination: '/made/below',
        type: 'bind',
        source: path.join(bench.dir, 'source'),
        options: ['bind'],
      });
    }),
  );
  const images = path.join(bench.dir, 'images');
  const restore = (criu: string): RuntimeResult =>
    bench.call('gantry', ['--criu', criu, 'restore', '-d', '--image-path', images, 'box']);
  const failing = counter.program('failing', 'exit 3');
  const nothingLeft = (what: string): void => {
    t.same(
      existsSync(bench.stateRoot('gantry')) ? readdirSync(bench.stateRoot('gantry')) : [],
      [],
      `${what}: no state`,
    );
    t.same(bench.groups(), [], `${what}: no control group`);
    t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), bench.dir, `${what}: no mount`);
  };
  t.match(sentences(restore(failing).stderr)[0], /image path \S+images: no such directory/);
  nothingLeft('no images');
  mkdirSync(images);
  t.match(sentences(restore(failing).stderr)[0], /descriptors\.json is missing: not the checkpoint of a container/);
  nothingLeft('no list of descriptors');
  writeFileSync(path.join(images, 'descriptors.json'), '{"not": "a list"}');
  t.match(sentences(restore(failing).stderr)[0], /descriptors\.json is not a list of names/);
  nothingLeft('a bad list of descriptors');
  writeFileSync(path.join(images, 'descriptors.json'), '["/dev/null","pipe:[1]","file[1c:15]"]');
  t.match(sentences(restore(failing).stderr)[0], /criu failed: exit status 3/);
  nothingLeft('a criu that fails');
  t.ok(existsSync(path.join(bench.rootfs, 'made/below')), 'it had got as far as the mount points');
  const there = counter.program('looking', `ls ${bench.stateRoot('gantry')}/box/criu/root/bin | head -n 3 >&2; exit 1`);
  t.match(sentences(restore(there).stderr)[0], /criu failed: exit status 1: (?:busybox|awk|cat)/, 'criu sees the root');
  nothingLeft('a criu that looks around');
  t.match(sentences(restore('/no/criu').stderr)[0], /no such program/);
  nothingLeft('no criu');
  t.end();
});

t.test('wrong use is answered as runc answers it', { skip: missing('runc') ?? skip }, (t) => {
  const bench = new RuntimeBench();
  t.teardown(() => void bench.remove());
  const both = ['runc', 'gantry'] as const;
  const create = (): void => {
    for (const name of both) {
      bench.configure(
        bench.spec(['sleep', '1000'], (spec) => {
          spec.linux.cgroupsPath = `/${bench.group}/${name}`;
        }),
      );
      t.equal(bench.callDetached(name, ['create', 'box']).code, 0);
    }
  };
  const same = (...words: readonly string[]): void => {
    const [runc, ours] = both.map((name) => {
      const { code, stderr } = bench.call(name, words);
      // runc complains of the container that runs as well.
      return {
        code,
        errors: sentences(stderr)
          .slice(-1)
          .map((sentence) => sentence.replace(/^\S*runc:/, 'gantry-runtime:')),
      };
    });
    t.same(ours, runc, words.join(' '));
  };
  same('checkpoint', 'nobody');
  same('checkpoint');
  same('restore');
  create();
  same('checkpoint', 'box');
  for (const name of both) t.equal(bench.call(name, ['start', 'box']).code, 0);
  const images = ['--image-path', path.join(bench.dir, 'images')];
  same('checkpoint', ...images, '--parent-path', '/absolute', 'box');
  same('checkpoint', ...images, '--empty-ns', 'mount', 'box');
  same('restore', ...images, 'box');
  for (const name of both) {
    t.match(bench.call(name, ['checkpoint', ...images, '--manage-cgroups-mode', 'odd', 'box']).code, 1, name);
    t.match(bench.call(name, ['checkpoint', ...images, '--page-server', 'nowhere', 'box']).code, 1, name);
    t.match(bench.call(name, ['state', 'box']).stdout, /"running"/);
    bench.call(name, ['delete', '--force', 'box']);
  }
  t.same(bench.remove(), [], 'no control group is left');
  t.end();
});
