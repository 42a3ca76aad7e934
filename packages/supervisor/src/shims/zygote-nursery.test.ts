/** The nursery that forks: what every nursery keeps, and what becomes of it when its zygote fares badly. */
import t from 'tap';
import { codeOf } from '@gantry/errors';
import { ShimConnection } from './connection.ts';
import { killProcess } from './process-identity.ts';
import { inheritanceSuite } from './testing/inheritance-suite.ts';
import { LaunchedContainer } from './testing/launched-container.ts';
import { gone, until } from './testing/nursery-place.ts';
import { declarer, nurserySuite } from './testing/nursery-suite.ts';
import { ZygoteNursery } from './zygote-nursery.ts';
import type { ZygoteNurseryOptions } from './zygote-nursery.ts';

t.setTimeout(180_000);
const make = (parts: ZygoteNurseryOptions): ZygoteNursery => new ZygoteNursery(parts);
const SIGKILL = 9;

nurserySuite(t, make);
inheritanceSuite(t, make, { forked: true });
const test = declarer(t, make);

test('the zygote is killed while it is idle: containers live on, and the next shim comes from another', async (t, place) => {
  const container = await LaunchedContainer.run(place, 'c');
  const first = place.zygote();
  killProcess(first);
  await gone(first);
  t.equal(await container.exec('x', ['true']), 0);
  await until('the end to be noticed', () => place.warnings.length > 0);
  const next = await LaunchedContainer.run(place, 'd');
  t.not(place.zygote().pid, first.pid);
  t.match(place.warnings, [/^the zygote is gone; .*SIGKILL/]);
  t.same(place.unfit, []);
  for (const one of [container, next]) {
    await one.kill(SIGKILL);
    t.equal(await one.wait(), 137);
    await one.remove();
  }
});

test('the zygote is killed in the middle of requests: they fail at once, and the next does not', async (t, place) => {
  await LaunchedContainer.run(place, 'c').then(async (container) => {
    await container.kill(SIGKILL);
    await container.wait();
    await container.remove();
  });
  const zygote = place.zygote();
  process.kill(zygote.pid, 'SIGSTOP');
  const asked = Date.now();
  const births = [1, 2, 3].map(() => place.nursery.bear(place.freshSocket()).then(() => 'ok', codeOf));
  killProcess(zygote);
  t.same(await Promise.all(births), ['unavailable', 'unavailable', 'unavailable']);
  t.ok(Date.now() - asked < 2000);
  const socket = place.freshSocket();
  await place.nursery.bear(socket);
  (await ShimConnection.connect(socket, 2000)).close();
});

test(
  'a zygote that does not fork in time is ended, and replaced',
  async (t, place) => {
    const early = place.freshSocket();
    await place.nursery.bear(early);
    (await ShimConnection.connect(early, 2000)).close();
    const zygote = place.zygote();
    process.kill(zygote.pid, 'SIGSTOP');
    const late = place.nursery.bear(place.freshSocket());
    await t.rejects(late, { code: 'deadline exceeded', message: /did not listen within 3000 ms/ });
    await gone(zygote);
    await until('its end to be noticed', () => place.warnings.length === 1);
    const socket = place.freshSocket();
    await place.nursery.bear(socket);
    (await ShimConnection.connect(socket, 2000)).close();
  },
  { timeouts: { shimStartMs: 3000 } },
);

test('a spare that is killed as it is born is an error that comes soon', async (t, place) => {
  const first = place.freshSocket();
  await place.nursery.bear(first);
  (await ShimConnection.connect(first, 2000)).close();
  const [zygote, socket] = [place.zygote(), place.freshSocket()];
  await until('the first to have ended', () => place.childrenOf(zygote).length === 0);
  process.kill(zygote.pid, 'SIGSTOP');
  const birth = place.nursery.bear(socket);
  // The pid that the kernel gives next is not known, but the zygote's only child is the one.
  process.kill(zygote.pid, 'SIGCONT');
  await until('a child to be there', () => place.childrenOf(zygote).length > 0);
  for (const child of place.childrenOf(zygote)) killProcess(child);
  const outcome = await Promise.race([birth.then(() => 'listened', codeOf), after(5000)]);
  // It may have been quick enough to listen; then it is dead all the same.
  t.match(outcome, /^(unavailable|listened)$/);
  place.removeSocket(socket);
});

test('the third zygote that dies young is the last: that is said once, with the reason', async (t, place) => {
  for (let death = 1; death <= 3; death += 1) {
    const socket = place.freshSocket();
    await place.nursery.bear(socket);
    (await ShimConnection.connect(socket, 2000)).close();
    killProcess(place.zygote());
    await until('the end to be noticed', () => place.warnings.length + place.unfit.length === death);
  }
  t.match(place.unfit, [/^it failed 3 times, at last: .*SIGKILL/]);
  t.equal(place.warnings.length, 2);
  await t.rejects(place.nursery.bear(place.freshSocket()), { code: 'unavailable', message: /cannot be forked/ });
});

test(
  'a node program that cannot be run is an error with its name',
  async (t, place) => {
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      await t.rejects(place.nursery.bear(place.freshSocket()), { code: 'unavailable', message: /\/no\/node ENOENT/ });
    }
    t.match(place.unfit, [/^it failed 3 times, at last: .*ENOENT/]);
  },
  { node: '/no/node' },
);

function after(ms: number): Promise<string> {
  return new Promise((resolve) => setTimeout(resolve, ms, `nothing within ${ms} ms`));
}
