/**
 * The same generated configurations through runc and gantry-runtime: what the container sees of itself, how it ends,
 * and what is left in the rootfs must be the same, apart from what docs/conformance.md justifies.
 *
 * Configuration number n is the same everywhere. GANTRY_CONFORMANCE_CASES says how many there are (default: as many as
 * fit into twenty seconds, but never fewer than a dozen), GANTRY_CONFORMANCE_FIRST at which number to begin,
 * GANTRY_CONFORMANCE_PEER=crun another runtime to compare with.
 */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { linux } from '@gantry/libc';
import { checkout, missing, Random } from '../index.ts';
import { ConformanceBench } from './generated.ts';
import type { Generated, Outcome } from './generated.ts';
import { justifiedForCrun, justifiedLines, justifiedRefusals, refusalsForCrun } from './justified.ts';
import { mistakes } from './variations.ts';

const peer = process.env['GANTRY_CONFORMANCE_PEER'] === 'crun' ? 'crun' : 'runc';
const skip = missing(peer) ?? otherRelease() ?? false;
const asked = process.env['GANTRY_CONFORMANCE_CASES'];
const first = Number(process.env['GANTRY_CONFORMANCE_FIRST'] ?? 1);
const FEWEST = 12;
const MOST = 60;
const TIME_MS = 20_000;

// runc passes on what its caller ignores, and make starts its commands with two signals ignored.
linux.resetInheritedSignals();
t.setTimeout(asked === undefined ? 300_000 : 24 * 3_600_000);

/** The list of what is justified was made with this release. */
function otherRelease(): string | undefined {
  if (peer !== 'runc') return undefined;
  const [first = ''] = spawnSync('runc', ['--version'], { encoding: 'utf8' }).stdout.split('\n');
  return first.startsWith('runc version 1.1.') ? undefined : `the peer is runc 1.1, not ${first}`;
}

/** What tells two outcomes apart, one line each; empty when they are the same. */
function differences(names: readonly string[], peerSaw: Outcome, ours: Outcome): string[] {
  const isMeant = [...justifiedRefusals, ...(peer === 'crun' ? refusalsForCrun : [])].some(({ variations }) =>
    variations.every((name) => names.includes(name)),
  );
  if (isMeant && (peerSaw.lines.length === 0) !== (ours.lines.length === 0)) return [];
  if (peerSaw.code !== ours.code) {
    return [`exit ${peerSaw.code}: ${peerSaw.stderr.trim()}`, `exit ${ours.code} of ours: ${ours.stderr.trim()}`];
  }
  // What a container that did not come to be has left in the root is not compared with crun, which makes targets first.
  if (peer === 'crun' && [...peerSaw.lines, ...ours.lines].every((line) => line.startsWith('left '))) return [];
  const rules = [...justifiedLines, ...(peer === 'crun' ? justifiedForCrun : [])].filter(
    ({ variation }) => variation === undefined || names.includes(variation),
  );
  const levelled = (lines: readonly string[]) =>
    lines.map((line) => rules.reduce((text, { level }) => level(text), line)).filter((line) => line !== '');
  const only = (lines: readonly string[], others: readonly string[]) => {
    const left = levelled(others);
    return levelled(lines).filter((line) => {
      const at = left.indexOf(line);
      if (at !== -1) left.splice(at, 1);
      return at === -1;
    });
  };
  return [
    ...only(peerSaw.lines, ours.lines).map((line) => `- ${line}`),
    ...only(ours.lines, peerSaw.lines).map((line) => `+ ${line}`),
  ];
}

function compare(bench: ConformanceBench, { names, spec }: Generated): string[] {
  return differences(names, bench.carryOut(peer, spec), bench.carryOut('gantry', spec));
}

t.test('generated configurations look the same from inside, whichever runtime carries them out', { skip }, (t) => {
  const bench = new ConformanceBench();
  t.teardown(() => void bench.bench.remove());
  const began = Date.now();
  const goesOn = (done: number) => {
    if (asked !== undefined) return done < Number(asked);
    return done < FEWEST || (done < MOST && Date.now() - began < TIME_MS);
  };
  for (let done = 0; goesOn(done); done++) {
    const generated = bench.generate(first + done);
    t.same(compare(bench, generated), [], `${first + done}: ${generated.names.join(', ')}`);
  }
  t.same(
    bench.bench.groups().filter((group) => group.endsWith('/c')),
    [],
    'no control group is left',
  );
  t.end();
});

t.test('what is wrong with a configuration is an error for both, and leaves nothing', { skip }, (t) => {
  const bench = new ConformanceBench();
  t.teardown(() => void bench.bench.remove());
  const began = Date.now();
  for (const [done, mistake] of mistakes.entries()) {
    if (asked === undefined && done >= FEWEST && Date.now() - began > TIME_MS / 2) break;
    const generated = bench.apply([mistake], new Random(1));
    t.same(compare(bench, generated), [], mistake.name);
  }
  t.equal(bench.bench.call('gantry', ['list', '-q']).stdout, '');
  t.end();
});

t.test('every difference that is let pass is told in the documentation', (t) => {
  const text = readFileSync(path.join(checkout, 'docs/conformance.md'), 'utf8');
  const ids = new Set(
    [...justifiedLines, ...justifiedRefusals, ...justifiedForCrun, ...refusalsForCrun].map(({ id }) => id),
  );
  for (const id of ids) t.ok(text.includes(`| ${id} |`), id);
  t.end();
});
