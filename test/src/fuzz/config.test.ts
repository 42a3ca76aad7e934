/**
 * Configurations with mistakes in them, made out of a seed: whatever one says, gantry-runtime ends, says why when it
 * refuses, and leaves no container, control group, mount or process.
 *
 * GANTRY_FUZZ_CASES says how many (default: as many as fit into fifteen seconds, never fewer than a dozen);
 * GANTRY_FUZZ_FIRST at which number to begin. Case number n is the same everywhere.
 */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { missing, processesWith, Random, sentences, until } from '../index.ts';
import { ConformanceBench } from '../conformance/generated.ts';

const skip = missing('runc') ?? false;
const asked = process.env['GANTRY_FUZZ_CASES'];
const first = Number(process.env['GANTRY_FUZZ_FIRST'] ?? 1);
const FEWEST = 12;
const MOST = 100;
const TIME_MS = 15_000;

t.setTimeout(asked === undefined ? 300_000 : 24 * 3_600_000);

/** Not changed, because a wrong value there is right for something of the host's. */
const untouchable = /\.(?:cgroupsPath|hooks|root\.path|source|namespaces\.\d+\.path)(?:\.|$)/;

/** Of every kind, and at the ends of their ranges. */
const borders: readonly unknown[] = [
  null,
  true,
  false,
  [],
  {},
  '',
  ' ',
  '-',
  '/',
  '.',
  'ä',
  '\u0000',
  '\ud800',
  'a=b',
].concat(
  ['x'.repeat(5000), '/x'.repeat(3000)],
  [-1, 0, 1, 1.5, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 2 ** 63, 2 ** 64, 1e308, -(2 ** 63)],
);

interface Place {
  readonly holder: Record<string, unknown>;
  readonly key: string;
  readonly path: string;
}

function placesOf(holder: object, above: string): Place[] {
  const members = holder as Record<string, unknown>;
  return Object.entries(members).flatMap(([key, value]) => {
    const path = `${above}.${key}`;
    if (untouchable.test(path)) return [];
    const below = typeof value === 'object' && value !== null ? placesOf(value, path) : [];
    return [{ holder: members, key, path }, ...below];
  });
}

/** One change somewhere; returns what was done. */
function mutate(spec: object, random: Random): string {
  const { holder, key, path } = random.pick(placesOf(spec, ''));
  const value = holder[key];
  const kind = random.below(5);
  if (kind === 0) {
    Reflect.deleteProperty(holder, key);
    return `${path} taken away`;
  }
  if (kind === 1 && Array.isArray(value) && value.length > 0) {
    holder[key] = Array.from({ length: random.pick([2, 50]) }, () => structuredClone(value) as unknown[]).flat();
    return `${path} repeated`;
  }
  if (kind === 2 && typeof value === 'string') {
    holder[key] = random.pick([`${value}${value}`, value.slice(1), value.toUpperCase(), `${value}\n`, ` ${value}`]);
    return `${path} = ${JSON.stringify(holder[key])}`;
  }
  const border = random.pick(borders);
  holder[key] = structuredClone(border);
  return `${path} = ${String(JSON.stringify(border)).slice(0, 30)}`;
}

/** A whole document that is no JSON, now and then. */
function written(spec: object, random: Random): string {
  const text = JSON.stringify(spec);
  return random.chance(0.04) ? text.slice(0, random.below(text.length)) : text;
}

const mountsWith = (mark: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(mark));

t.test('a configuration with mistakes is an error that says why, and nothing is left', { skip }, async (t) => {
  const bench = new ConformanceBench();
  t.teardown(() => void bench.bench.remove());
  const began = Date.now();
  const goesOn = (done: number) => {
    if (asked !== undefined) return done < Number(asked);
    return done < FEWEST || (done < MOST && Date.now() - began < TIME_MS);
  };
  for (let done = 0; goesOn(done); done++) {
    const { spec } = bench.generate(first + done);
    Object.assign(spec, spec.process === undefined ? {} : { process: { ...spec.process, args: ['true'] } });
    const random = new Random(first + done);
    const changes = Array.from({ length: 1 + random.below(3) }, () => mutate(spec, random));
    const { code, stderr } = bench.carryOut('gantry', written(spec, random));
    const said = sentences(stderr).length > 0;
    // A filter may end the program by a signal, about which nothing is to be said.
    const isSane = (code === 0 || code > 128 || said) && !/^ +at .*:\d+:\d+\)?$|TypeError|RangeError/m.test(stderr);
    if (!isSane) t.fail(`${first + done}: ${changes.join('; ')}: ${code} ${stderr}`);
  }
  t.equal(bench.bench.call('gantry', ['list', '-q']).stdout, '', 'no container is left');
  t.same(bench.bench.groups(), [], 'no control group is left');
  t.same(mountsWith(bench.bench.dir), [], 'no mount is left');
  await until('no process is left', () => processesWith([bench.bench.group]).length === 0);
});
