/**
 * What runProgram does, for a process of one thread (program.test.ts starts it): containers' shims are that, and clone(2)
 * wants it. Ends with an assertion's failure, or with nothing to say.
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linux } from '@gantry/libc';
import { runProgram } from '../external/program.ts';

const sh = (script: string, rest: { input?: string; timeoutMs?: number } = {}) =>
  runProgram(linux, { path: '/bin/sh', args: ['-c', script], env: ['A=b'], timeoutMs: 10_000, ...rest });

assert.deepEqual(sh('cat; echo $A; echo err >&2; exit 3', { input: 'in\n' }), { status: 3, output: 'in\nb\nerr\n' });
assert.deepEqual(sh('kill -9 $$'), { status: 137, output: '' });
assert.equal(sh('head -c 300000 /dev/zero').output.length, 300_000, 'more than a pipe holds');
assert.deepEqual(sh('exit 0', { input: 'x'.repeat(300_000) }), { status: 0, output: '' }, 'input that nobody reads');
assert.deepEqual(sh('sleep 1 & echo left'), { status: 0, output: 'left\n' }, 'somebody keeps the pipe open');
assert.throws(() => sh('exec sleep 100', { timeoutMs: 100 }), /100 ms/);
const absent = { path: '/no/such/program', args: [], env: [], timeoutMs: 10_000 };
assert.throws(() => runProgram(linux, absent), /no such file or directory/);

// Descriptors that are given become its own, in whatever order.
const dir = mkdtempSync(join(tmpdir(), 'gantry-program-'));
const names = ['out', 'err'].map((name) => join(dir, name));
const [stdout = -1, stderr = -1] = names.map((name) => openSync(name, 'w'));
const stdio = { stdin: -1, stdout, stderr };
const args = ['-c', 'echo out; echo err >&2; cat'];
const given = runProgram(linux, { path: '/bin/sh', args, env: [], stdio, timeoutMs: 10_000 });
assert.deepEqual(given, { status: 0, output: '' });
for (const fd of [stdout, stderr]) closeSync(fd);
assert.deepEqual(
  names.map((name) => readFileSync(name, 'utf8')),
  ['out\n', 'err\n'],
);
rmSync(dir, { recursive: true });
