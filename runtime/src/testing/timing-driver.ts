/**
 * How long a container takes that is made in this process, as the shim makes them: `node --single-threaded timing-driver.js
 * DIR COUNT` makes COUNT containers of the bundle DIR one after the other and prints the milliseconds of each. For the bench only.
 */
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { linux } from '@gantry/libc';
import { parseSpec } from '@gantry/oci';
import { createContainer } from '../create.ts';
import { warmUp } from '../warm-up.ts';

const [, , bundle = '', count = '1'] = process.argv;
warmUp();
const text = readFileSync(join(bundle, 'config.json'), 'utf8');
for (let turn = 0; turn < Number(count); turn++) {
  const startedAt = process.hrtime.bigint();
  const container = createContainer(linux, {
    id: `timed-${process.pid}-${turn}`,
    bundle,
    spec: parseSpec(text),
    rootfs: [],
    stdio: { stdin: -1, stdout: -1, stderr: -1 },
    timeoutMs: 60_000,
  });
  container.start();
  linux.wait4(container.pid, 0);
  container.destroy();
  const ms = Number(process.hrtime.bigint() - startedAt) / 1e6;
  writeSync(1, `${ms}\n`);
  linux.poll([], 5);
}
