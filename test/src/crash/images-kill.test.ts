/**
 * gantryd dies by SIGKILL at any moment of each kind of work with images, or of its own start. After each start nothing that is
 * referred to is missing, every blob is what its digest says, a pull goes on where it was, and after a collection nothing is there
 * that nobody refers to: no blob, ingest, snapshot, tree, record, lease.
 *
 * How long a kind takes is measured by doing it undisturbed; its deaths are spread evenly over that time and a little more.
 * GANTRY_CRASH_ROUNDS (12) says how often it dies, GANTRY_CRASH_KINDS (all) at what, by commas, GANTRY_CRASH_SEED chooses the
 * moments, GANTRY_SNAPSHOTTER where images are unpacked.
 */
import t from 'tap';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openStore } from '@gantry/store';
import { registryBoxMissing } from '../index.ts';
import { ImageWorld } from './image-work.ts';
import type { Work } from './image-work.ts';

const rounds = Number(process.env['GANTRY_CRASH_ROUNDS'] ?? 12);
const seed = Number(process.env['GANTRY_CRASH_SEED'] ?? 20_231);
const snapshotter = process.env['GANTRY_SNAPSHOTTER'] ?? 'overlayfs';
const wanted = process.env['GANTRY_CRASH_KINDS']?.split(',');
const timeoutMs = 180_000 + rounds * 15_000;

/** A little is after the answer. */
const beyondTheEnd = 1.1;

/** What dies, and when, as a part of the time that it takes. */
interface Death {
  readonly kind: string;
  readonly moment: number;
}

/** Every kind in turn; the moments of each are spread evenly and come in any order. */
function planDeaths(world: ImageWorld): Death[] {
  const kinds = Object.keys(world.kinds).filter((kind) => wanted?.includes(kind) ?? true);
  const times = (kind: string): number => Math.floor((rounds + kinds.length - 1 - kinds.indexOf(kind)) / kinds.length);
  const moments = new Map(kinds.map((kind) => [kind, world.random.draw(evenly(world, times(kind)), times(kind))]));
  return Array.from({ length: rounds }, (_, round) => {
    const kind = kinds[round % kinds.length] ?? '';
    return { kind, moment: moments.get(kind)?.pop() ?? 0 };
  });
}

function evenly(world: ImageWorld, count: number): number[] {
  return Array.from({ length: count }, (_, at) => ((at + world.random.next()) / count) * beyondTheEnd);
}

/** How long a kind of work takes that nobody disturbs. */
async function measured(work: Work): Promise<number> {
  await work.begin?.();
  const startedMs = performance.now();
  await work.run();
  const tookMs = performance.now() - startedMs;
  await work.done();
  return tookMs;
}

/** Does it and kills gantryd amid. Returns how long it took when it had been acknowledged before, else undefined. */
async function killAmid(world: ImageWorld, work: Work, killMs: number): Promise<number | undefined> {
  const startedMs = performance.now();
  const running = work.run().then(
    () => performance.now() - startedMs,
    () => undefined,
  );
  // Sooner than a timer can: between two turns of the loop.
  await sleep(Math.max(0, killMs - 2));
  while (performance.now() - startedMs < killMs) await new Promise((resolve) => setImmediate(resolve));
  await world.box.daemon.kill();
  return running;
}

/** Starts gantryd, which may be killed at that too. */
async function startAgain(world: ImageWorld): Promise<void> {
  if (world.random.chance(0.3)) {
    world.box.daemon.launch();
    await sleep(world.random.below(400));
    await world.box.daemon.kill();
  }
  await world.box.restart('kill');
}

/** What the store of a gantryd that has ended holds, beside the namespaces and what counts up. */
async function recordsOf(root: string): Promise<string[]> {
  const store = await openStore(path.join(root, 'meta'));
  try {
    const expected = new Set(['schema', 'namespaces', 'snapshot-ids']);
    return [...store.scan([])]
      .map(({ key }) => key)
      .filter(([branch = '']) => !expected.has(branch))
      .map((key) => key.join('/'));
  } finally {
    await store.close();
  }
}

t.setTimeout(timeoutMs);
t.test(
  `kill -9 amid work with images, ${rounds} times`,
  { skip: registryBoxMissing, timeout: timeoutMs },
  async (t) => {
    const world = new ImageWorld({ seed, snapshotter });
    await world.start();
    const typicalMs = new Map<string, number>();
    const met = new Map<string, number>();
    for (const [round, { kind, moment }] of planDeaths(world).entries()) {
      const next = (): Work => {
        const make = world.kinds[kind];
        if (make === undefined) throw new Error(`GANTRY_CRASH_KINDS: no ${kind}`);
        return make();
      };
      if (!typicalMs.has(kind)) typicalMs.set(kind, await measured(next()));
      const work = next();
      await work.begin?.();
      const killMs = (typicalMs.get(kind) ?? 0) * moment;
      const tookMs = await killAmid(world, work, killMs);
      const acknowledged = tookMs !== undefined;
      // The machine is not always as fast as it was when the kind was measured.
      if (acknowledged) typicalMs.set(kind, ((typicalMs.get(kind) ?? tookMs) + tookMs) / 2);
      else if (moment > 1) typicalMs.set(kind, killMs * 1.3);
      const where = `round ${round}, seed ${seed}, ${work.what}, ${killMs.toFixed(1)} ms${acknowledged ? ', acknowledged' : ''}`;
      met.set(
        kind + (acknowledged ? '' : ' broken off'),
        (met.get(kind + (acknowledged ? '' : ' broken off')) ?? 0) + 1,
      );
      await startAgain(world);
      t.same(await world.stored.spoiltBlobs(), [], `every blob is what it says: ${where}`);
      t.same(await world.lacking(), [], `nothing is missing: ${where}`);
      const endless = (await world.box.client.leases.list()).filter(
        ({ labels }) => !('containerd.io/gc.expire' in labels),
      );
      t.same(endless, [], `a lease that a crash leaves ends by itself: ${where}`);
      if (!acknowledged) {
        await work.afterCrash?.().catch((err: unknown) => t.fail(`${String(err)}: ${where}`));
        await work.run();
      }
      await work.done();
      const names = (await world.box.client.images.list()).map(({ name }) => name);
      t.same(names, [...world.there.keys()].toSorted(), where);
      t.same(await world.stored.leftOver(), [], `nothing is left over: ${where}`);
      t.same(await world.lacking(), [], `nothing is missing after garbage: ${where}`);
    }
    t.comment(Object.fromEntries([...met].toSorted()));
    t.comment(Object.fromEntries([...typicalMs].map(([kind, ms]) => [kind, `${Math.round(ms)} ms undisturbed`])));
    t.same(readdirSync(path.join(world.box.daemon.root, 'content/ingest')), [], 'no ingest is left');
    for (const name of world.there.keys()) await world.box.client.images.remove(name, { sync: true });
    t.same(await world.stored.leftOver(), [], 'nothing is left without images');
    await world.box.daemon.stop();
    t.same(await recordsOf(world.box.daemon.root), [], 'no record is left');
    await world.box.end(t);
  },
);
