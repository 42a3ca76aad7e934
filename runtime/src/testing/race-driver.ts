/**
 * Makes containers one after the other for a while, beside somebody who changes their files: `node --single-threaded
 * race-driver.js DIR` reads DIR/race.json and writes DIR/races.json. For tests only.
 */
import { openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '@gantry/errors';
import { AT_FDCWD, AT_RECURSIVE, CLONE_NEWNS, linux, MS_PRIVATE, MS_SHARED } from '@gantry/libc';
import { parseSpec } from '@gantry/oci';
import { createContainer } from '../create.ts';
import type { RacePlan, RaceResult } from './race.ts';

const [, , dir = ''] = process.argv;
const plan = JSON.parse(readFileSync(join(dir, 'race.json'), 'utf8')) as RacePlan;
const specs = plan.specs.map((spec) => parseSpec(JSON.stringify(spec)));
const outputFile = join(dir, 'output');
const refused: Record<string, number> = {};
let made = 0;

function runOne(turn: number): void {
  const spec = specs[turn % specs.length];
  if (spec === undefined) return;
  const request = { id: plan.id, bundle: dir, spec, rootfs: [], stdio: { stdin: -1, stdout: out, stderr: out } };
  try {
    const container = createContainer(linux, { ...request, timeoutMs: 20_000 });
    try {
      container.start();
    } finally {
      linux.wait4(container.pid, 0);
      container.destroy();
    }
    made++;
  } catch (err) {
    const reason = messageOf(err).replaceAll(/\d+/g, 'N');
    refused[reason] = (refused[reason] ?? 0) + 1;
  }
}

function mounts(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
}

// A mount table that nobody else changes, every mount of which would show what a container does to it.
linux.unshare(CLONE_NEWNS);
for (const propagation of [MS_PRIVATE, MS_SHARED]) {
  linux.mountSetattr(AT_FDCWD, '/', AT_RECURSIVE, { set: 0, clear: 0, propagation });
}
const out = openSync(outputFile, 'a+');
const known = new Set(mounts());
const before = readdirSync('/proc/self/fd').length;
const until = performance.now() + plan.timeMs;
let turn = 0;
for (; turn < plan.fewest || performance.now() < until; turn++) runOne(turn);
const result: RaceResult = {
  made,
  refused,
  output: readFileSync(outputFile, 'utf8'),
  leaks: [
    ...mounts().filter((line) => !known.has(line)),
    ...(readdirSync('/proc/self/fd').length > before ? ['descriptors'] : []),
  ],
};
writeFileSync(join(dir, 'races.json'), JSON.stringify(result));
