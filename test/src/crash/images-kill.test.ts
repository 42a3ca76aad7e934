/**
 * gantryd dies by SIGKILL at any moment of a pull, an import, a commit, a deletion, a collection of garbage, or its own start.
 * After each start nothing that is referred to is missing, every blob is what its digest says, a pull goes on where it was, and
 * after a collection nothing is there that nobody refers to.
 *
 * GANTRY_CRASH_ROUNDS (12) says how often it dies, GANTRY_CRASH_SEED chooses when and at what, GANTRY_SNAPSHOTTER where images
 * are unpacked.
 */
import t from 'tap';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '@gantry/errors';
import { ociArchive, Random, RegistryBox, registryBoxMissing, StoredImages, tar } from '../index.ts';
import type { Marker, TarEntry } from '../index.ts';

const rounds = Number(process.env['GANTRY_CRASH_ROUNDS'] ?? 12);
const seed = Number(process.env['GANTRY_CRASH_SEED'] ?? 20_231);
const snapshotter = process.env['GANTRY_SNAPSHOTTER'] ?? 'overlayfs';
const timeoutMs = 120_000 + rounds * 8_000;

/** A layer that takes its time: some files of random bytes, many small ones, and the marker last. */
function layer(label: string): { readonly bytes: Buffer; readonly marker: Marker } {
  const body = randomBytes(200_000);
  const small = Array.from({ length: 300 }, (_, at): TarEntry => ({ name: `${label}-${at}`, body: `${label} ${at}` }));
  const file = `marker-${label}`;
  const bytes = tar([{ name: `large-${label}`, body: randomBytes(400_000) }, ...small, { name: file, body }]);
  return { bytes, marker: { file, sha256: createHash('sha256').update(body).digest('hex') } };
}

/** Something that gantryd does and is killed at. */
interface Work {
  readonly what: string;
  /** Does it; again after a crash, until it succeeds. */
  run(): Promise<void>;
  /** Said once, after a start that follows a crash amid it. */
  afterCrash?(): Promise<void>;
  /** It happened: what is to be there from now on. */
  done(): void;
}

class World {
  readonly box = new RegistryBox();
  readonly random = new Random(seed);
  /** Names that were acknowledged, and what must be found in them. */
  readonly there = new Map<string, Marker | undefined>();
  /** Those that may be there or not: their removal was under way. */
  readonly doubtful = new Set<string>();
  readonly containers = new Set<string>();
  readonly #remote: { readonly name: string; readonly marker: Marker }[] = [];
  readonly #archives: { readonly name: string; readonly bytes: Buffer; readonly marker: Marker }[] = [];
  #count = 0;

  async start(): Promise<void> {
    await this.box.start();
    for (let at = 0; at < 3; at += 1) {
      const layers = [layer(`r${at}a`), layer(`r${at}b`)];
      await this.box.seed(
        `crash/box:${at}`,
        layers.map(({ bytes }) => bytes),
      );
      this.#remote.push({ name: this.box.name(`crash/box:${at}`), marker: layers[1]?.marker ?? layer('').marker });
      const own = [layer(`l${at}a`), layer(`l${at}b`)];
      const name = `docker.io/library/loaded${at}:latest`;
      const bytes = ociArchive({ layers: own.map((one) => one.bytes), name });
      this.#archives.push({ name, bytes, marker: own[1]?.marker ?? layer('').marker });
    }
    await this.box.client.images.pull(this.box.name('crash/box:0'), { credentials: this.box.credentials, snapshotter });
    this.there.set(this.box.name('crash/box:0'), this.#remote[0]?.marker);
  }

  get stored(): StoredImages {
    return new StoredImages(this.box.client, this.box.daemon.root, snapshotter);
  }

  next(): Work {
    const choices = [
      () => this.#pull(),
      () => this.#pull(),
      () => this.#load(),
      () => this.#commit(),
      () => this.#remove(),
      () => this.#garbage(),
    ];
    return this.random.pick(choices)();
  }

  #pull(): Work {
    const { box, random } = this;
    const missing = this.#remote.filter((one) => !this.there.has(one.name));
    const { name, marker } = random.pick(missing.length > 0 ? missing : this.#remote);
    return {
      what: `pull ${name}`,
      run: async () => void (await box.client.images.pull(name, { credentials: box.credentials, snapshotter })),
      afterCrash: () => this.#pullGoesOn(name),
      done: () => void this.there.set(name, marker),
    };
  }

  /** What has come is not fetched again, and what has come in part is fetched from there. */
  async #pullGoesOn(name: string): Promise<void> {
    const { client, credentials, proxy } = this.box;
    const whole = new Set<string>();
    for await (const { digest } of client.content.list()) whole.add(digest);
    const parts = new Map((await client.content.statuses()).map(({ ref, offset }) => [ref, offset]));
    proxy.decide(() => undefined);
    await client.images.pull(name, { credentials, snapshotter });
    for (const { method, url, headers } of proxy.seen) {
      const digest = /\/blobs\/(sha256:\w+)$/.exec(url)?.[1];
      if (method !== 'GET' || digest === undefined) continue;
      if (whole.has(digest)) throw new Error(`${digest} had come and was fetched again`);
      const offset = [...parts].find(([ref]) => ref.endsWith(digest))?.[1] ?? 0n;
      if (offset > 0n && headers.range !== `bytes=${offset}-`) {
        throw new Error(
          `${digest} had come up to ${offset} and was asked for ${headers.range ?? 'from the beginning'}`,
        );
      }
    }
  }

  #load(): Work {
    const { name, bytes, marker } = this.random.pick(this.#archives);
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
    };
    return {
      what: `import ${name}`,
      run: async () => void (await this.box.client.images.import(pieces())),
      done: () => void this.there.set(name, marker),
    };
  }

  #commit(): Work {
    const { box } = this;
    const at = (this.#count += 1);
    const id = `c${at}`;
    const name = `docker.io/library/committed${at}:latest`;
    const body = randomBytes(300_000);
    const marker = { file: 'made-by-container', sha256: createHash('sha256').update(body).digest('hex') };
    const image = this.random.pick([...this.there.keys()]);
    return {
      what: `commit of a container on ${image}`,
      run: async () => {
        const { client } = box;
        await client.removeContainer(id).catch((err: unknown) => {
          if (!isCode(err, 'not found')) throw err;
        });
        await client.snapshots.remove(id).catch((err: unknown) => {
          if (!isCode(err, 'not found')) throw err;
        });
        await client.createContainer({ id, image });
        const [mount] = await client.snapshots.mounts(id);
        const upper = mount?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length) ?? '';
        writeFileSync(path.join(upper, marker.file), body);
        await client.commit(id, name);
        await client.removeContainer(id);
      },
      done: () => void this.there.set(name, marker),
    };
  }

  #remove(): Work {
    const name = this.random.pick([...this.there.keys()]);
    if (this.there.size === 1) return this.#garbage();
    const sync = this.random.chance(0.7);
    const marker = this.there.get(name);
    this.there.delete(name);
    this.doubtful.add(name);
    return {
      what: `removal of ${name}`,
      run: async () => {
        await this.box.client.images.remove(name, { sync }).catch((err: unknown) => {
          if (!isCode(err, 'not found')) throw err;
        });
      },
      afterCrash: async () => {
        // Still named: then it is whole.
        const left = (await this.box.client.images.list()).some((image) => image.name === name);
        const wrong = left ? await this.stored.lacks(name, marker) : [];
        if (wrong.length > 0) throw new Error(wrong.join('; '));
      },
      done: () => void this.doubtful.delete(name),
    };
  }

  /** Blobs, an ingest and snapshots that only a lease holds; its end collects them. */
  #garbage(): Work {
    return {
      what: 'garbage',
      run: async () => {
        const { client } = this.box;
        const lease = await client.leases.create();
        const leased = { lease: lease.id };
        const key = `g${(this.#count += 1)}`;
        for (let at = 0; at < 6; at += 1) {
          await client.content.write([randomBytes(100_000)], { ...leased, ref: `${key}-${at}` });
          await client.snapshots.prepare(`${key}-a${at}`, at === 0 ? '' : `${key}-${at - 1}`, leased);
          await client.snapshots.commit(`${key}-${at}`, `${key}-a${at}`, leased);
        }
        await client.leases.delete(lease.id, { sync: true });
      },
      done: () => undefined,
    };
  }
}

/** Does it; kills gantryd at a moment of its time. Returns whether it had been acknowledged before. */
async function killAmid(world: World, work: Work, typicalMs: Map<string, number>): Promise<boolean> {
  const kind = work.what.split(' ')[0] ?? '';
  const killMs = (typicalMs.get(kind) ?? 500) * world.random.next() * 1.1;
  const startedMs = performance.now();
  const running = work.run().then(
    () => true,
    () => false,
  );
  const done = await Promise.race([running, sleep(killMs).then(() => undefined)]);
  if (done === true) typicalMs.set(kind, performance.now() - startedMs);
  await world.box.daemon.kill();
  return running;
}

/** Starts gantryd, which may be killed at that too. */
async function startAgain(world: World): Promise<void> {
  if (world.random.chance(0.3)) {
    world.box.daemon.launch();
    await sleep(world.random.below(400));
    await world.box.daemon.kill();
  }
  await world.box.restart('kill');
}

t.setTimeout(timeoutMs);
t.test(
  `kill -9 amid work with images, ${rounds} times`,
  { skip: registryBoxMissing, timeout: timeoutMs },
  async (t) => {
    const world = new World();
    await world.start();
    const typicalMs = new Map<string, number>();
    const met = new Map<string, number>();
    for (let round = 0; round < rounds; round += 1) {
      const work = world.next();
      const acknowledged = await killAmid(world, work, typicalMs);
      const where = `round ${round}, seed ${seed}, ${work.what}${acknowledged ? ', acknowledged' : ''}`;
      const kind = `${work.what.split(' ')[0]}${acknowledged ? '' : ' broken off'}`;
      met.set(kind, (met.get(kind) ?? 0) + 1);
      if (acknowledged) work.done();
      await startAgain(world);
      const { stored } = world;
      t.same(await stored.spoiltBlobs(), [], `every blob is what it says: ${where}`);
      for (const [name, marker] of world.there) t.same(await stored.lacks(name, marker), [], where);
      if (!acknowledged) {
        await work.afterCrash?.();
        await work.run();
        work.done();
      }
      for (const name of world.doubtful) t.fail(`${name} is neither there nor gone: ${where}`);
      t.same(
        (await world.box.client.images.list()).map(({ name }) => name),
        [...world.there.keys()].toSorted(),
        where,
      );
      t.same(await stored.leftOver(), [], `nothing is left over: ${where}`);
      for (const [name, marker] of world.there) t.same(await stored.lacks(name, marker), [], `after garbage: ${where}`);
    }
    t.comment(Object.fromEntries([...met].toSorted()));
    const ingests = readdirSync(path.join(world.box.daemon.root, 'content/ingest'));
    t.same(ingests, [], 'no ingest is left');
    for (const name of world.there.keys()) await world.box.client.images.remove(name, { sync: true });
    t.same(await world.stored.leftOver(), [], 'nothing is left without images');
    await world.box.end(t);
  },
);
