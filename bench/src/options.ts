/** The command line. */
import { parseArgs } from 'node:util';
import { checkout } from '@gantry/test';
import path from 'node:path';
import { fullPlan, quickPlan, withSamples } from './plan.ts';
import type { Plan } from './plan.ts';

export const usage = `usage: make bench ARGS="…"   or   node bench/dist/main.js …
Measures gantryd and a stock containerd side by side; needs root. Everything is made below a directory of its own
and removed at the end.

  --only LIST         these scenarios, separated by commas: NAMES
  --quick             a short run: shows that all works, the figures are rough
  --samples N         samples of what is measured one at a time (default ${fullPlan.samples})
  --gantry-only       leave containerd out;  --peer-only  leave gantryd out
  --runtime NAME      the OCI runtime that containerd uses (default runc), e.g. crun
  --gantryd FILE      the gantryd.js to measure (default: this checkout's)
  --peer-gantryd FILE the other side is this gantryd.js instead of containerd: compares two builds
  --density LIST      so many containers, step by step (default ${fullPlan.density.join(',')})
  --soak N            instead of all that: N containers at once on gantryd start, answer an exec and go
  --all               the table shows every series
  --json FILE         writes everything measured
  --markdown FILE     writes the table; between its marks, when FILE has them
  --svg FILE          draws the plot
  --docs              the two last for docs/performance.md and docs/bench.svg; what make bench does without ARGS`;

export interface Options {
  /** Undefined: all. */
  readonly only: readonly string[] | undefined;
  readonly quick: boolean;
  readonly plan: Plan;
  readonly sides: 'both' | 'gantry' | 'peer';
  readonly runtime: string | undefined;
  readonly gantryd: string | undefined;
  readonly peerGantryd: string | undefined;
  /** How many containers; undefined: no soak. */
  readonly soak: number | undefined;
  readonly all: boolean;
  readonly json: string | undefined;
  readonly markdown: string | undefined;
  readonly svg: string | undefined;
  readonly help: boolean;
}

/** Throws an Error whose message is for the user. `known`: the names of the scenarios. */
export function parseOptions(words: readonly string[], known: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...words],
    options: {
      only: { type: 'string' },
      quick: { type: 'boolean', default: false },
      samples: { type: 'string' },
      'gantry-only': { type: 'boolean', default: false },
      'peer-only': { type: 'boolean', default: false },
      runtime: { type: 'string' },
      gantryd: { type: 'string' },
      'peer-gantryd': { type: 'string' },
      density: { type: 'string' },
      soak: { type: 'string' },
      all: { type: 'boolean', default: false },
      json: { type: 'string' },
      markdown: { type: 'string' },
      svg: { type: 'string' },
      docs: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const only = values.only?.split(',').filter((name) => name !== '');
  const unknown = only?.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`--only: no scenario "${unknown}"; there are ${known.join(', ')}`);
  if (values['gantry-only'] && values['peer-only']) throw new Error('--gantry-only and --peer-only leave nothing');
  if (values.runtime !== undefined && values['peer-gantryd'] !== undefined)
    throw new Error('--runtime is for containerd, which --peer-gantryd replaces');
  const density = values.density?.split(',').map((text) => countOf('--density', text) ?? 0);
  const sized = values.quick ? quickPlan : fullPlan;
  const base = density === undefined ? sized : { ...sized, density: density.sort((a, b) => a - b) };
  const samples = countOf('--samples', values.samples);
  const inDocs = (name: string): string | undefined => (values.docs ? path.join(checkout, 'docs', name) : undefined);
  return {
    only,
    quick: values.quick,
    plan: samples === undefined ? base : withSamples(base, samples),
    sides: values['gantry-only'] ? 'gantry' : values['peer-only'] ? 'peer' : 'both',
    runtime: values.runtime,
    gantryd: values.gantryd,
    peerGantryd: values['peer-gantryd'],
    soak: countOf('--soak', values.soak),
    all: values.all,
    json: values.json,
    markdown: values.markdown ?? inDocs('performance.md'),
    svg: values.svg ?? inDocs('bench.svg'),
    help: values.help,
  };
}

function countOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new Error(`${flag}: "${text}" is not a number above 0`);
  return Number(text);
}
