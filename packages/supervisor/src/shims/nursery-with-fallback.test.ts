/** Forking where it works, spawning where it does not. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { ForkOrSpawnNursery } from './nursery-with-fallback.ts';
import { killProcess } from './process-identity.ts';
import { LaunchedContainer } from './testing/launched-container.ts';
import { until } from './testing/nursery-place.ts';
import type { NurseryParts } from './testing/nursery-place.ts';
import { declarer, nurserySuite } from './testing/nursery-suite.ts';

t.setTimeout(180_000);
const SIGKILL = 9;

/** A node of which a forked child is not fit: its sockets do not listen. */
const broken = `
const { readlinkSync } = require('node:fs');
const { Server } = require('node:net');
const { listen } = Server.prototype;
const self = readlinkSync('/proc/self');
Server.prototype.listen = function (...given) {
  if (readlinkSync('/proc/self') !== self) throw new Error('not after a fork');
  return listen.apply(this, given);
};
`;

const directory = mkdtempSync(path.join(tmpdir(), 'gantry-broken-'));
t.teardown(() => rmSync(directory, { recursive: true }));
const node = path.join(directory, 'node');
writeFileSync(`${node}.cjs`, broken);
writeFileSync(node, `#!/bin/sh\nexec ${process.execPath} --require ${node}.cjs "$@"\n`);
chmodSync(node, 0o755);

const make = (parts: NurseryParts): ForkOrSpawnNursery => new ForkOrSpawnNursery(parts);
const test = declarer(t, make);

async function endOf(container: LaunchedContainer): Promise<void> {
  await container.kill(SIGKILL);
  await container.wait();
  await container.remove();
}

nurserySuite(t, make);

test(
  'forking does not work: shims are spawned, and one warning says why',
  async (t, place) => {
    const containers = await Promise.all(['a', 'b', 'c'].map((id) => LaunchedContainer.run(place, id)));
    t.match(place.warnings, [
      /^shims cannot be forked here and are spawned instead.*a forked child ends with status 1"}$/,
    ]);
    t.equal(place.warnings.length, 1);
    for (const container of containers) {
      t.equal(await container.exec('x', ['true']), 0);
      await endOf(container);
    }
    await endOf(await LaunchedContainer.run(place, 'd'));
    t.equal(place.warnings.length, 1, 'and it is not said again');
    t.throws(() => place.zygote(), { message: 'there is no zygote' });
  },
  { node },
);

test('three zygotes die young: shims are spawned from then on', async (t, place) => {
  for (let death = 1; death <= 3; death += 1) {
    await endOf(await LaunchedContainer.run(place, 'c'));
    killProcess(place.zygote());
    await until('the end to be noticed', () => place.warnings.length === death);
  }
  t.match(place.warnings.at(-1), /^shims cannot be forked here and are spawned instead.*it failed 3 times/);
  await endOf(await LaunchedContainer.run(place, 'c'));
  t.equal(place.warnings.length, 3);
  t.throws(() => place.zygote(), { message: 'there is no zygote' });
});

test('the zygote is killed while a launch waits for it: the launch gets its shim from the next', async (t, place) => {
  await endOf(await LaunchedContainer.run(place, 'a'));
  const zygote = place.zygote();
  process.kill(zygote.pid, 'SIGSTOP');
  const launches = ['b', 'c'].map((id) => LaunchedContainer.run(place, id));
  killProcess(zygote);
  const containers = await Promise.all(launches);
  t.not(place.zygote().pid, zygote.pid);
  for (const container of containers) await endOf(container);
});
