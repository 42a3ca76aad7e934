import t from 'tap';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { forkingFlags } from '../forking-flags.ts';

t.test('a program gets its input, environment and descriptors, and what it says and how it ends comes back', (t) => {
  const cases = fileURLToPath(new URL('../testing/program-cases.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [...forkingFlags, cases], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  t.equal(status, 0, stderr);
  t.end();
});
