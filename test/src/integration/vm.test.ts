/**
 * The part of the suite that needs a host with cgroup v2 alone, in a virtual machine: what it says about the groups
 * themselves. `make test-vm` runs all of it, systemd's groups included.
 */
import t from 'tap';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { checkout, missing, run } from '../index.ts';
import type { CommandResult } from '../index.ts';

const files = ['packages/cgroups/dist/cgroup.test.js'];
/** What test/vm/run-vm.mjs ends with where there is no machine to be had. */
const notHere = 77;
const limitSeconds = 240;

const isUnified = existsSync('/sys/fs/cgroup/cgroup.controllers');
const skip =
  missing('qemu-system-x86_64', 'busybox') ??
  (isUnified ? 'this host has cgroup v2 alone: the tests of test/src/vm run here' : undefined) ??
  (process.arch === 'x64' ? false : 'the machine is an x86-64 one');

t.setTimeout(345_000);

/** Undefined when it was not started. */
async function boot(): Promise<CommandResult | undefined> {
  if (skip !== false) return undefined;
  const words = ['--timeout', String(limitSeconds), ...files];
  return await run(process.execPath, [path.join(checkout, 'test/vm/run-vm.mjs'), ...words], { timeoutMs: 330_000 });
}

/** Software emulation on a machine with much else to do says nothing about us, unless a test has failed before its end. */
function whyNothing({ code, stdout, stderr }: CommandResult): string | false {
  if (code === notHere) return stderr.trim();
  const late = stderr.includes('no end after') && !/^ *not ok /m.test(stdout);
  return late ? `the emulated machine did not end within ${limitSeconds} s` : false;
}

const result = await boot();
const notSaid = result === undefined ? skip : whyNothing(result);

t.test('limits are kept on cgroup v2', { skip: notSaid }, (t) => {
  const { code, stdout, stderr } = result ?? { code: -1, stdout: '', stderr: '' };
  const verdict = /^vm: .*$/m.exec(stdout)?.[0];
  t.same([code, verdict], [0, `vm: ${files.length} files, 0 failed`], `${stdout}${stderr}`);
  t.end();
});
