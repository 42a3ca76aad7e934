#!/usr/bin/env node
// Runs every compiled test file in a process of its own, reads its TAP, and ends with "N passed, N failed, N skipped".
// usage: scripts/test.mjs [--unit | --integration] [FILTER …]   FILTER: part of a file's path
// Unit tests (beside the sources) run two at a time; what stands in test/ uses the whole machine and runs alone.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const top = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const fileLimitMs = 6 * 60_000;

const words = process.argv.slice(2);
const filters = words.filter((word) => !word.startsWith('--'));
const wants = (kind) => words.includes(`--${kind}`) || (!words.includes('--unit') && !words.includes('--integration'));

function testFilesBelow(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) return testFilesBelow(full);
    return entry.name.endsWith('.test.js') ? [full] : [];
  });
}

const chosen = (files) =>
  files.filter((file) => filters.length === 0 || filters.some((part) => file.includes(part))).toSorted();
const rooms = [
  ...readdirSync(path.join(top, 'packages')).map((name) => path.join('packages', name)),
  'runtime',
  'shim',
  'bench',
];
const unit = wants('unit') ? chosen(rooms.flatMap((room) => testFilesBelow(path.join(top, room, 'dist')))) : [];
const integration = wants('integration') ? chosen(testFilesBelow(path.join(top, 'test/dist'))) : [];

const totals = { passed: 0, failed: 0, skipped: 0 };
const skipped = [];

// Top-level TAP points only: a subtest's own points are indented and summed up by its parent's point.
function readTap(file, text) {
  const points = [...text.matchAll(/^(not )?ok \d+(?: - (.*?))?(?: # (SKIP|TODO|time=)([^\n{]*))?(?: \{)?$/gim)];
  const result = { passed: 0, failed: 0, skipped: 0 };
  for (const [, not, name = 'unnamed', directive = '', reason = ''] of points) {
    if (/^skip$/i.test(directive)) {
      result.skipped += 1;
      skipped.push(`${file}: ${name}${reason.trim() === '' ? '' : ` (${reason.trim()})`}`);
    } else if (not) result.failed += 1;
    else result.passed += 1;
  }
  const whole = /^1\.\.0 # (?:SKIP )?(.*)$/im.exec(text);
  if (points.length === 0 && whole) {
    result.skipped += 1;
    skipped.push(`${file}: ${whole[1]}`);
  }
  return result;
}

function runFile(file) {
  return new Promise((resolve) => {
    const name = path.relative(top, file).replace('/dist/', '/').replace(/\.js$/, '');
    const started = Date.now();
    const child = spawn(process.execPath, ['--enable-source-maps', file], {
      cwd: top,
      detached: true,
      // A busy machine may take minutes for what takes seconds; the limit of the file is ours.
      env: { ...process.env, TAP_BAIL: '0', TAP_TIMEOUT: '300', NO_COLOR: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let text = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (text += chunk));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      process.kill(-child.pid, 'SIGKILL');
    }, fileLimitMs);
    child.on('close', (code) => {
      clearTimeout(timer);
      const result = readTap(name, out);
      const broken = code !== 0 && result.failed === 0;
      if (broken) result.failed = 1;
      if (result.passed + result.failed + result.skipped === 0) result.failed = 1;
      for (const key of Object.keys(totals)) totals[key] += result[key];
      const seconds = ((Date.now() - started) / 1000).toFixed(1);
      const skips = result.skipped > 0 ? `, ${result.skipped} skipped` : '';
      console.log(`${result.failed === 0 ? 'ok  ' : 'FAIL'} ${name}: ${result.passed} passed${skips} (${seconds} s)`);
      if (result.failed > 0) {
        if (late) console.log(`  did not end within ${fileLimitMs / 1000} s and was killed`);
        console.log(`${out}${text}`.replaceAll(/^/gm, '  | '));
      }
      resolve();
    });
  });
}

async function runAll(files, atOnce) {
  const waiting = [...files];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await runFile(file);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

await runAll(unit, Math.min(2, availableParallelism()));
await runAll(integration, 1);
if (skipped.length > 0) console.log(`\nskipped:\n${skipped.map((line) => `  ${line}`).join('\n')}\n`);
console.log(
  `${totals.passed} passed, ${totals.failed} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`,
);
process.exitCode = totals.failed === 0 ? 0 : 1;
