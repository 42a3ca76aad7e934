/** A configuration out of a seed, and carrying it out by one runtime after the other on the same rootfs. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { Random, RuntimeBench } from '../index.ts';
import type { RuntimeName, TestSpec } from '../index.ts';
import { probeScript, seen } from './probe.ts';
import { mistakes, variations } from './variations.ts';
import type { Places, Variation } from './variations.ts';

/** Also in software emulation. */
const RUN_TIMEOUT_MS = 120_000;

export interface Generated {
  /** By which variations it came to be, in their order. */
  readonly names: readonly string[];
  readonly spec: TestSpec;
}

/** What one runtime made of a configuration. */
export interface Outcome {
  readonly code: number;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** A rootfs, volumes outside of it, and a place where hooks write. */
export class ConformanceBench {
  readonly bench = new RuntimeBench();
  readonly places: Places = {
    volume: path.join(this.bench.dir, 'volume'),
    hookLog: path.join(this.bench.dir, 'hooks'),
  };
  readonly #before: ReadonlySet<string>;

  constructor() {
    this.#furnish();
    mkdirSync(path.join(this.places.volume, 'dir/sub'), { recursive: true });
    writeFileSync(path.join(this.places.volume, 'file'), 'outside:x:7:7::/:/bin/sh\n');
    this.#before = new Set(treeOf(this.bench.rootfs));
  }

  /** Makes what a container may have changed as it was. */
  #furnish(): void {
    const inside = (name: string) => path.join(this.bench.rootfs, name);
    for (const name of ['mnt/a', 'mnt/c', 'var/masked', 'opt', 'lib']) mkdirSync(inside(name), { recursive: true });
    for (const name of ['mnt/b', 'etc/kept', 'etc/masked', 'var/masked/x']) writeFileSync(inside(name), 'content\n');
    chmodSync(inside('tmp'), 0o1777);
    chownSync(inside('home'), 1000, 1000);
    for (const [name, target] of [
      ['etc/link', '../tmp'],
      ['etc/dangling', '../opt/later'],
    ] as const) {
      rmSync(inside(name), { force: true });
      symlinkSync(target, inside(name));
    }
  }

  /** Configuration number `seed`. */
  generate(seed: number): Generated {
    const random = new Random(seed);
    const chosen = random
      .draw(variations, 1 + random.below(6))
      .toSorted((a, b) => variations.indexOf(a) - variations.indexOf(b));
    if (random.chance(0.2)) chosen.push(random.pick(mistakes));
    return this.apply(chosen, random);
  }

  apply(chosen: readonly Variation[], random: Random): Generated {
    const spec = this.bench.spec(['sh', '-c', probeScript, 'sh', 'first'], (draft) => {
      for (const { apply } of chosen) apply(draft, random, this.places);
    });
    return { names: chosen.map(({ name }) => name), spec };
  }

  /** Runs it to its end. What it leaves in the rootfs is part of the answer, and is taken away. */
  carryOut(name: RuntimeName, spec: unknown): Outcome {
    this.bench.configure(spec);
    rmSync(this.places.hookLog, { force: true });
    writeFileSync(this.places.hookLog, '');
    const { code, stdout, stderr } = this.bench.call(name, ['run', 'box'], { timeoutMs: RUN_TIMEOUT_MS });
    const places = [
      [this.bench.dir, 'DIR'],
      [this.bench.group, 'GROUP'],
    ] as const;
    const hooks = ['hooks', 'bundle/rootfs/hooked'].flatMap((file) => hookLines(path.join(this.bench.dir, file)));
    const left = this.#takeAway().map((entry) => `left ${entry}`);
    const lines = [...seen(stdout, places), ...seen(['@hook', ...hooks].join('\n'), places), ...left];
    // A failed command may leave a container; not ours to compare here.
    if (code !== 0) this.bench.call(name, ['delete', '--force', 'box']);
    return { code, lines, stderr };
  }

  #takeAway(): string[] {
    const fresh = treeOf(this.bench.rootfs).filter((entry) => !this.#before.has(entry));
    for (const entry of fresh)
      rmSync(path.join(this.bench.rootfs, entry.split(' ')[0] ?? ''), { recursive: true, force: true });
    this.#furnish();
    return fresh;
  }
}

/** Every entry of a directory as path, type and mode. */
function treeOf(top: string): string[] {
  return readdirSync(top, { recursive: true, encoding: 'utf8' })
    .map((name) => {
      const { mode, uid, gid } = lstatSync(path.join(top, name));
      return `${name} ${mode.toString(8)} ${uid}:${gid}`;
    })
    .toSorted();
}

/** `kind environment state` a line, with the members of the state that the specification names. */
function hookLines(file: string): string[] {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const start = line.indexOf('{');
      const { id, status, bundle, pid, annotations } = JSON.parse(line.slice(start)) as Record<string, unknown>;
      return `${line.slice(0, start)}${JSON.stringify([id, status, bundle, Number(pid) > 0, annotations ?? {}])}`;
    });
}
