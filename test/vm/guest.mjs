// Inside the machine: runs the test files one after the other and says how many failed.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Under software emulation a container takes seconds: no test is slow here that is not stuck. */
const fileTimeoutMs = 1_200_000;
const testTimeoutSeconds = 600;

const { env, files } = JSON.parse(readFileSync('/vm/tests.json', 'utf8'));
const uptime = readFileSync('/proc/uptime', 'utf8').split(' ')[0];
const controllers = readFileSync('/sys/fs/cgroup/cgroup.controllers', 'utf8').trim();
console.log(`# vm: node ${process.version} up after ${uptime} s, controllers: ${controllers}`);

let failed = 0;
for (const { file, grep } of files) {
  const startedAt = performance.now();
  console.log(`# vm: ${file}${grep === undefined ? '' : ` /${grep}/`}`);
  const { status, signal, stdout } = spawnSync(process.execPath, [file], {
    stdio: ['ignore', grep === undefined ? 'inherit' : 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    timeout: fileTimeoutMs,
    env: {
      ...process.env,
      ...env,
      TAP_TIMEOUT: String(testTimeoutSeconds),
      ...(grep === undefined ? {} : { TAP_GREP: grep }),
    },
    killSignal: 'SIGKILL',
  });
  if (stdout !== null) process.stdout.write(stdout);
  // A pattern that matches nothing (any more) must not look like success.
  const ran = grep === undefined || /^# \{.* pass: [1-9]/m.test(stdout);
  const passed = status === 0 && ran;
  if (!passed) failed++;
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  console.log(
    `# vm: ${passed ? 'passed' : `FAILED (${ran ? (signal ?? status) : 'no test of that name ran'})`} ${file} (${seconds} s)`,
  );
}
console.log(`vm: ${files.length} files, ${failed} failed`);
