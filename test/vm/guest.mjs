// Inside the machine: runs the test files one after the other and says how many failed.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Under software emulation node alone needs seconds to start. */
const fileTimeoutMs = 120_000;

const files = JSON.parse(readFileSync('/vm/tests.json', 'utf8'));
const uptime = readFileSync('/proc/uptime', 'utf8').split(' ')[0];
const controllers = readFileSync('/sys/fs/cgroup/cgroup.controllers', 'utf8').trim();
console.log(`# vm: node ${process.version} up after ${uptime} s, controllers: ${controllers}`);

let failed = 0;
for (const file of files) {
  console.log(`# vm: ${file}`);
  const { status, signal } = spawnSync(process.execPath, [file], {
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: fileTimeoutMs,
    killSignal: 'SIGKILL',
  });
  const passed = status === 0;
  if (!passed) failed++;
  console.log(`# vm: ${passed ? 'passed' : `FAILED (${signal ?? status})`} ${file}`);
}
console.log(`vm: ${files.length} files, ${failed} failed`);
