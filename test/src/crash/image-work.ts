/**
 * What a crash may come amid: every kind of work with images, how it begins, what must be true after a crash in the middle of it,
 * and what must be there when it was acknowledged.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isCode } from '@gantry/errors';
import { importByServer, ociArchive, Random, RegistryBox, sha256, StoredImages, tar } from '../index.ts';
import type { Marker, TarEntry } from '../index.ts';

/** Something that gantryd does and is killed at. */
export interface Work {
  readonly what: string;
  /** Makes what it needs; nothing is killed meanwhile. */
  begin?(): Promise<void>;
  /** Does it; again after a crash, until it succeeds. */
  run(): Promise<void>;
  /** Looks at what is there after a start that follows a crash amid it. Throws when that is wrong. */
  afterCrash?(): Promise<void>;
  /** It was acknowledged: notes what is to be there from now on, and looks whether it did what it said. */
  done(): Promise<void> | void;
}

interface Image {
  readonly name: string;
  readonly marker: Marker;
}

/** Images beyond these are removed before more are made. */
const most = 6;

/** A layer that takes its time: some files of random bytes, many small ones, and the marker last. */
function layer(label: string): { readonly bytes: Buffer; readonly marker: Marker } {
  const body = randomBytes(200_000);
  const small = Array.from({ length: 300 }, (_, at): TarEntry => ({ name: `${label}-${at}`, body: `${label} ${at}` }));
  const file = `marker-${label}`;
  const bytes = tar([{ name: `large-${label}`, body: randomBytes(400_000) }, ...small, { name: file, body }]);
  return { bytes, marker: { file, sha256: sha256(body).slice('sha256:'.length) } };
}

async function ignoringAbsent(promise: Promise<unknown>): Promise<void> {
  await promise.catch((err: unknown) => {
    if (!isCode(err, 'not found')) throw err;
  });
}

/** A gantryd beside a registry, and what it has acknowledged. */
export class ImageWorld {
  readonly box = new RegistryBox();
  readonly random: Random;
  /** Names that were acknowledged, and what must be found in them. */
  readonly there = new Map<string, Marker>();
  /** Those of them whose layers nobody unpacked. */
  readonly packed = new Set<string>();
  /** Each kind of work. */
  readonly kinds: Readonly<Record<string, () => Work>> = {
    pull: () => this.#pull(),
    unpack: () => this.#unpack(),
    import: () => this.#import(),
    'import by the server': () => this.#importByServer(),
    commit: () => this.#commit(),
    convert: () => this.#convert(),
    push: () => this.#push(),
    removal: () => this.#removal(),
    snapshots: () => this.#snapshots(),
    garbage: () => this.#garbage(),
  };
  readonly #snapshotter: string;
  readonly #remote: Image[] = [];
  readonly #archives: (Image & { readonly bytes: Buffer })[] = [];
  #count = 0;

  constructor({ seed, snapshotter }: { readonly seed: number; readonly snapshotter: string }) {
    this.random = new Random(seed);
    this.#snapshotter = snapshotter;
  }

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
  }

  get stored(): StoredImages {
    return new StoredImages(this.box.client, this.box.daemon.root, this.#snapshotter);
  }

  /** What the images that were acknowledged lack. */
  async lacking(): Promise<string[]> {
    const found: string[] = [];
    for (const [name, marker] of this.there) {
      found.push(...(await this.stored.lacks(name, this.packed.has(name) ? 'packed' : marker)));
    }
    return found;
  }

  async #absent(name: string): Promise<void> {
    await ignoringAbsent(this.box.client.images.remove(name, { sync: true }));
    this.there.delete(name);
    this.packed.delete(name);
  }

  /** Makes room for one image more, and gives the name and the marker of one that can be run. */
  async #one(): Promise<Image> {
    while (this.there.size >= most) await this.#absent(this.random.pick([...this.there.keys()]));
    const ready = [...this.there].filter(([name]) => !this.packed.has(name));
    if (ready.length > 0) {
      const [name, marker] = this.random.pick(ready);
      return { name, marker };
    }
    const { name, bytes, marker } = this.random.pick(this.#archives);
    await this.#load(bytes);
    this.packed.delete(name);
    this.there.set(name, marker);
    return { name, marker };
  }

  async #load(bytes: Buffer, unpack = true): Promise<void> {
    await this.box.client.images.import(pieces(bytes), { unpack, snapshotter: this.#snapshotter });
  }

  #pull(): Work {
    const { name, marker } = this.random.pick(this.#remote);
    const { credentials } = this.box;
    return {
      what: `pull of ${name}`,
      begin: () => this.#absent(name),
      run: async () => void (await this.box.client.images.pull(name, { credentials, snapshotter: this.#snapshotter })),
      afterCrash: () => this.#pullGoesOn(name),
      done: async () => {
        this.there.set(name, marker);
        const leases = (await this.box.client.leases.list()).filter(
          ({ labels }) => labels['io.gantry/transfer'] !== undefined,
        );
        if (leases.length > 0) throw new Error(`a pull that was done leaves ${leases.map(({ id }) => id).join(' ')}`);
      },
    };
  }

  /** What has come is not fetched again, and what has come of a layer is gone on from; documents are small and come whole. */
  async #pullGoesOn(name: string): Promise<void> {
    const { client, credentials, proxy } = this.box;
    const whole = new Set<string>();
    for await (const { digest } of client.content.list()) whole.add(digest);
    const begun = (await client.content.statuses()).filter(({ ref }) => ref.startsWith('layer-'));
    const parts = new Map(begun.map(({ ref, offset }) => [ref.slice('layer-'.length), offset]));
    proxy.decide(() => undefined);
    await client.images.pull(name, { credentials, snapshotter: this.#snapshotter });
    let wanted = 0n;
    for (const { method, url, headers } of proxy.seen) {
      const digest = /\/blobs\/(sha256:\w+)$/.exec(url)?.[1];
      if (method !== 'GET' || digest === undefined) continue;
      if (whole.has(digest)) throw new Error(`${digest} had come and was fetched again`);
      const offset = parts.get(digest) ?? 0n;
      if (offset > 0n && headers.range !== `bytes=${offset}-`) {
        throw new Error(
          `${digest} had come up to ${offset} and was asked for ${headers.range ?? 'from the beginning'}`,
        );
      }
      wanted += (await client.content.info(digest)).size - offset;
    }
    // Beside blobs come the manifest, answers to HEAD and a token.
    const bytes = BigInt(proxy.sentBytes);
    if (bytes > wanted + 20_000n) throw new Error(`${bytes} bytes came where ${wanted} were missing`);
  }

  #unpack(): Work {
    const { name, bytes, marker } = this.random.pick(this.#archives);
    return {
      what: `unpacking of ${name}`,
      begin: async () => {
        await this.#absent(name);
        await this.#load(bytes, false);
        this.there.set(name, marker);
        this.packed.add(name);
      },
      run: async () => void (await this.box.client.images.unpack(name, { snapshotter: this.#snapshotter })),
      done: () => void this.packed.delete(name),
    };
  }

  #import(): Work {
    const { name, bytes, marker } = this.random.pick(this.#archives);
    return {
      what: `import of ${name}`,
      begin: () => this.#absent(name),
      run: () => this.#load(bytes),
      done: () => void this.there.set(name, marker),
    };
  }

  #importByServer(): Work {
    const { name, bytes, marker } = this.random.pick(this.#archives);
    return {
      what: `import by the server of ${name}`,
      begin: () => this.#absent(name),
      run: () => importByServer(this.box.client, pieces(bytes), this.#snapshotter),
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
    let file = '';
    return {
      what: `commit to ${name}`,
      begin: async () => {
        const { name: image } = await this.#one();
        await box.client.createContainer({ id, image });
        const [mount] = await box.client.snapshots.of(this.#snapshotter).mounts(id);
        const upper = mount?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
        file = path.join(upper ?? mount?.source ?? '', marker.file);
        writeFileSync(file, body);
      },
      run: async () => void (await box.client.commit(id, name)),
      afterCrash: async () => {
        await box.client.containers.get(id);
        if (!body.equals(readFileSync(file))) throw new Error(`the file that ${id} wrote has other bytes`);
      },
      done: async () => {
        await box.client.removeContainer(id);
        this.there.set(name, marker);
      },
    };
  }

  #convert(): Work {
    const name = `docker.io/library/converted${(this.#count += 1)}:latest`;
    const compression = this.random.pick(['zstd', 'none'] as const);
    let source: Image | undefined;
    return {
      what: `conversion to ${name}`,
      begin: async () => void (source = await this.#one()),
      run: async () => {
        await this.box.client.convert(source?.name ?? '', name, { compression });
      },
      done: () => {
        if (source !== undefined) this.there.set(name, source.marker);
      },
    };
  }

  #push(): Work {
    const { box } = this;
    const { credentials } = box;
    const rest = `pushed/box:${(this.#count += 1)}`;
    let image: Image | undefined;
    return {
      what: `push to ${rest}`,
      begin: async () => void (image = await this.#one()),
      run: async () => {
        await box.client.images.push(image?.name ?? '', box.name(rest), { credentials });
      },
      done: async () => {
        const digest = (await box.client.images.get(image?.name ?? '')).target?.digest ?? '';
        const name = `${box.registry.host}/${rest}`;
        const resolver = box.resolver();
        const { descriptor } = await resolver.resolve(name);
        if (descriptor.digest !== digest) throw new Error(`${rest} is ${descriptor.digest} and not ${digest}`);
        const fetcher = await resolver.fetcher(name);
        for (const wanted of this.stored.descriptorsOf(digest)) {
          const hash = createHash('sha256');
          for await (const bytes of (await fetcher.fetch(wanted)).body) hash.update(bytes);
          if (`sha256:${hash.digest('hex')}` !== wanted.digest) throw new Error(`${wanted.digest} came out spoilt`);
        }
      },
    };
  }

  #removal(): Work {
    const { name, bytes, marker } = this.random.pick(this.#archives);
    return {
      what: `removal of ${name}`,
      begin: async () => {
        await this.#load(bytes);
        this.there.delete(name);
        this.packed.delete(name);
      },
      run: () => ignoringAbsent(this.box.client.images.remove(name, { sync: true })),
      afterCrash: async () => {
        // Still named: then it is whole.
        const left = (await this.box.client.images.list()).some((image) => image.name === name);
        const wrong = left ? await this.stored.lacks(name, marker) : [];
        if (wrong.length > 0) throw new Error(wrong.join('; '));
      },
      done: () => undefined,
    };
  }

  /** A chain of snapshots that only their labels hold is removed from its top. */
  #snapshots(): Work {
    const key = `s${(this.#count += 1)}`;
    const length = 8;
    const files: string[] = [];
    const names = Array.from({ length }, (_, at) => `${key}-${at}`);
    const labels = { 'containerd.io/gc.root': '2020-01-01T00:00:00Z' };
    const snapshots = (): typeof this.box.client.snapshots => this.box.client.snapshots.of(this.#snapshotter);
    return {
      what: `removal of the snapshots ${key}`,
      begin: async () => {
        for (const [at, name] of names.entries()) {
          const [mount] = await snapshots().prepare(`${name} active`, at === 0 ? '' : (names[at - 1] ?? ''), {
            labels,
          });
          const upper = mount?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
          const file = path.join(upper ?? mount?.source ?? '', name);
          writeFileSync(file, name);
          files.push(file);
          await snapshots().commit(name, `${name} active`, { labels });
        }
      },
      run: async () => {
        for (const name of names.toReversed()) await ignoringAbsent(snapshots().remove(name));
      },
      afterCrash: async () => {
        const left = new Set<string>();
        for await (const { name } of snapshots().list()) if (names.includes(name)) left.add(name);
        const lowest = names.slice(0, left.size);
        if (lowest.some((name) => !left.has(name))) throw new Error(`of ${key} ${[...left].join(' ')} are left`);
        for (const [at, file] of files.slice(0, left.size).entries()) {
          if (!existsSync(file)) throw new Error(`the file of ${names[at]} is gone and the snapshot is not`);
        }
      },
      done: () => undefined,
    };
  }

  /** Blobs, an ingest and snapshots that only a lease holds; its end collects them. */
  #garbage(): Work {
    const key = `g${(this.#count += 1)}`;
    let lease = '';
    return {
      what: `collection of ${key}`,
      begin: async () => {
        const { client } = this.box;
        lease = (await client.leases.create()).id;
        const snapshots = client.snapshots.of(this.#snapshotter);
        for (let at = 0; at < 6; at += 1) {
          await client.content.write([randomBytes(100_000)], { lease, ref: `${key}-${at}` });
          await snapshots.prepare(`${key}-a${at}`, at === 0 ? '' : `${key}-${at - 1}`, { lease });
          await snapshots.commit(`${key}-${at}`, `${key}-a${at}`, { lease });
        }
      },
      run: () => ignoringAbsent(this.box.client.leases.delete(lease, { sync: true })),
      done: () => undefined,
    };
  }
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}
