#!/usr/bin/env node
// Makes dist/bundle: the command line as two files, and V8's code for them under the flags that they are run with.
// Without it the program runs from its modules, more slowly. `--if-needed`: only when something was compiled since.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleParts, isOlder } from '../../scripts/bundle-parts.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const room = path.resolve(here, '..');
const out = path.join(room, 'dist/bundle');
const compiled = ['runtime', 'packages/libc', 'packages/cgroups', 'packages/oci', 'packages/errors'].map((name) =>
  path.join(room, '..', name),
);
const last = path.join(out, 'program.cjs.sealed');

if (!process.argv.includes('--if-needed') || isOlder(last, compiled)) await make();

async function make() {
  await bundleParts(
    Object.fromEntries(['main', 'program'].map((part) => [part, path.join(room, `dist/cli/${part}.js`)])),
    out,
  );
  const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-code-'));
  try {
    const { starterSpec } = await import('../dist/cli/starter-spec.js');
    const { process: own, ...spec } = starterSpec(undefined);
    // Where containers can be made this one is, up to its program, which there is not.
    mkdirSync(path.join(scratch, 'rootfs'));
    writeFileSync(path.join(scratch, 'config.json'), JSON.stringify({ ...spec, process: { ...own, terminal: false } }));
    const state = ['--root', `${scratch}/state`];
    takeCode('main', 'plain', [], [...state, 'run', '-b', scratch, 'code']);
    takeCode('program', 'plain', [], [...state, 'list']);
    const flags = ['--single-threaded', '--v8-pool-size=0'];
    takeCode('program', 'sealed', flags, [...state, 'run', '-b', scratch, 'code']);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function takeCode(part, name, flags, words) {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const script = path.join(here, 'take-code.cjs');
  const options = { env, stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000, encoding: 'utf8' };
  const file = path.join(out, `${part}.cjs.${name}`);
  const { status, stderr } = spawnSync(process.execPath, [...flags, script, part, file, ...words], options);
  if (status !== 0) throw new Error(`taking the code of ${part} failed with ${status}: ${stderr}`);
}
