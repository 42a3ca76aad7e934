/** What lies on a gantryd's disk, held against what its API says: nothing missing, nothing spoilt, nothing left over. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Client } from '@gantry/client';
import { isCode, messageOf } from '@gantry/errors';
import { chainIds, parseImageConfig, parseManifest } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { until } from './command.ts';

/** A file that the last layer of an image brings, and what must be in it. */
export interface Marker {
  readonly file: string;
  readonly sha256: string;
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function names(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir).toSorted() : [];
}

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** One gantryd's images, seen from both sides. `snapshotter` is the one that they are unpacked into. */
export class StoredImages {
  readonly #client: Client;
  readonly #content: string;
  readonly #trees: string;
  readonly #snapshotter: string;

  constructor(client: Client, root: string, snapshotter = 'overlayfs') {
    this.#client = client;
    this.#snapshotter = snapshotter;
    this.#content = path.join(root, 'content');
    this.#trees = path.join(root, 'snapshots', snapshotter);
  }

  get #snapshots(): Client['snapshots'] {
    return this.#client.snapshots.of(this.#snapshotter);
  }

  #blobFile(digest: string): string {
    return path.join(this.#content, 'blobs', digest.replace(':', '/'));
  }

  /** Undefined when there is no such file. */
  #bytesOf(digest: string): Buffer | undefined {
    try {
      return readFileSync(this.#blobFile(digest));
    } catch (err) {
      if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined;
      throw err;
    }
  }

  /** What is wrong with blobs: files that are not what their name says, records without their file. */
  async spoiltBlobs(): Promise<string[]> {
    const wrong: string[] = [];
    for (const name of names(path.join(this.#content, 'blobs/sha256'))) {
      const bytes = this.#bytesOf(`sha256:${name}`);
      if (bytes !== undefined && sha256(bytes) !== name) wrong.push(`${name} has other bytes`);
    }
    for (const { digest, size } of await collected(this.#client.content.list())) {
      const bytes = this.#bytesOf(digest);
      if (bytes !== undefined) {
        if (BigInt(bytes.length) !== size) wrong.push(`${digest} has another size`);
        continue;
      }
      // Garbage may have been collected meanwhile: then it is not known any more.
      const known = await this.#client.content.info(digest).catch(() => undefined);
      if (known !== undefined) wrong.push(`${digest} is listed and has no file`);
    }
    return wrong;
  }

  /** The digests of an image, itself first. Throws when one of its documents is not there. */
  blobsOf(target: string): { readonly digests: readonly string[]; readonly chain: readonly string[] } {
    const manifest = parseManifest(readFileSync(this.#blobFile(target)));
    const config = parseImageConfig(readFileSync(this.#blobFile(manifest.config.digest)));
    const layers = manifest.layers.map(({ digest }) => digest);
    return { digests: [target, manifest.config.digest, ...layers], chain: chainIds(config.rootfs.diff_ids) };
  }

  /** What an image's manifest refers to. Throws when the manifest is not there. */
  descriptorsOf(target: string): readonly Descriptor[] {
    const { config, layers } = parseManifest(readFileSync(this.#blobFile(target)));
    return [config, ...layers];
  }

  /**
   * What an image lacks: blobs, snapshots, or in its top snapshot the marker. Empty when it is whole. Of one that is not unpacked
   * (`packed`) the blobs count.
   */
  async lacks(name: string, marker: Marker | 'packed' | undefined): Promise<string[]> {
    const image = await this.#client.images.get(name);
    const { digests, chain } = this.blobsOf(image.target?.digest ?? '');
    const wrong: string[] = [];
    for (const digest of digests) {
      await this.#client.content.info(digest).catch((err: unknown) => wrong.push(messageOf(err)));
    }
    for (const id of marker === 'packed' ? [] : chain) {
      await this.#snapshots.stat(id).catch((err: unknown) => wrong.push(messageOf(err)));
    }
    const top = chain.at(-1) ?? '';
    if (wrong.length === 0 && marker !== undefined && marker !== 'packed')
      wrong.push(...(await this.#markerOf(top, marker)));
    return wrong.map((text) => `${name}: ${text}`);
  }

  async #markerOf(chainId: string, { file, sha256: wanted }: Marker): Promise<string[]> {
    const key = `look ${chainId}`;
    await using lease = await this.#client.leases.with();
    const mounts = await this.#snapshots.view(key, chainId, lease.options());
    try {
      const option = (name: string): string | undefined =>
        mounts[0]?.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
      const places = option('lowerdir')?.split(':') ?? [mounts[0]?.source ?? ''];
      const found = places.map((place) => path.join(place, file)).find((place) => existsSync(place));
      if (found === undefined) return [`${file} is in none of its layers`];
      return sha256(readFileSync(found)) === wanted ? [] : [`${file} has other bytes`];
    } finally {
      await this.#snapshots.remove(key);
    }
  }

  /** Ends every lease, which collects garbage, and gives what then is there without a reason. */
  async leftOver(containers: ReadonlySet<string> = new Set()): Promise<string[]> {
    const client = this.#client;
    for (const { id } of await client.leases.list()) await this.#endLease(id);
    // With nothing to end there is nothing that a collection would follow.
    await this.#endLease((await client.leases.create()).id);
    const referenced = new Set<string>();
    const chains = new Set<string>();
    for (const { target } of await client.images.list()) {
      const { digests, chain } = this.blobsOf(target?.digest ?? '');
      for (const digest of digests) referenced.add(digest);
      for (const id of chain) chains.add(id);
    }
    const listed = (await collected(client.content.list())).map(({ digest }) => digest);
    const snapshots = (await collected(this.#snapshots.list())).map(({ name }) => name);
    const files = names(path.join(this.#content, 'blobs/sha256')).map((name) => `sha256:${name}`);
    const extra = [
      ...listed.filter((digest) => !referenced.has(digest)).map((digest) => `content ${digest}`),
      ...files.filter((digest) => !referenced.has(digest)).map((digest) => `file ${digest}`),
      ...snapshots.filter((name) => !chains.has(name) && !containers.has(name)).map((name) => `snapshot ${name}`),
      ...(await client.content.statuses()).map(({ ref }) => `ingest ${ref}`),
      ...names(path.join(this.#content, 'ingest')).map((name) => `ingest directory ${name}`),
    ];
    await until(
      'the trees of removed snapshots to go',
      () => {
        const trees = names(path.join(this.#trees, 'snapshots'));
        return trees.length === snapshots.length && names(path.join(this.#trees, 'trash')).length === 0;
      },
      60_000,
    );
    return extra;
  }

  async #endLease(id: string): Promise<void> {
    await this.#client.leases.delete(id, { sync: true }).catch((err: unknown) => {
      if (!isCode(err, 'not found')) throw err;
    });
  }
}
