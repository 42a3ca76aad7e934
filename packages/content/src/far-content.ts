/**
 * Blobs in another process. The bytes are there; what a namespace knows of a blob, and blobs in the making, stay here.
 *
 *     commit ─► file of the ingest ─► note of where it will be (durable) ─► sent ─► record (durable) ─► answer
 *     read   ─► asked for there       differ ─► fetched into a file, for as long as it works
 *
 * What was sent from here is noted, and goes from there when nobody here refers to it any more. What was there before is used under
 * its digest and is never removed. Blobs that are files here, from the time before, stay and are read here.
 */
import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, open, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { dataLoss } from '@gantry/errors';
import { isDigest } from '@gantry/oci';
import type { Digest } from '@gantry/oci';
import { keys } from '@gantry/store';
import type { Store } from '@gantry/store';
import { BlobFiles } from './blob-files.ts';
import type { FarReader, LocalBlob } from './blob-files.ts';

const pieceBytes = 1024 * 1024;

/** What another process's content store is asked. Unavailable while it is not there. */
export interface FarContent {
  /** undefined when the namespace there does not have the blob. */
  sizeOf(namespace: string, digest: Digest): Promise<bigint | undefined>;
  /** Throws not found. `size` 0: to the end. */
  read(namespace: string, digest: Digest, offset: bigint, size: bigint): AsyncIterable<Uint8Array>;
  /** Stores the blob; `source` gives its bytes from an offset on, where an earlier attempt has ended. */
  write(
    namespace: string,
    blob: { readonly digest: Digest; readonly size: bigint },
    source: (offset: bigint) => AsyncIterable<Uint8Array>,
  ): Promise<void>;
  /** Nothing happens when it is not there. */
  remove(namespace: string, digest: Digest): Promise<void>;
}

export interface FarBlobFilesOptions {
  /** The `blobs` directory: what is there from before. */
  readonly root: string;
  /** For blobs that are fetched for a while; emptied by `prepare`. */
  readonly fetched: string;
  readonly store: Store;
  readonly far: FarContent;
}

export class FarBlobFiles extends BlobFiles {
  override readonly isHere = false;
  readonly #options: FarBlobFilesOptions;

  constructor(options: FarBlobFilesOptions) {
    super(options.root);
    this.#options = options;
  }

  override async prepare(): Promise<void> {
    await super.prepare();
    await rm(this.#options.fetched, { recursive: true, force: true });
    await mkdir(this.#options.fetched, { recursive: true, mode: 0o700 });
  }

  override async sizeOf(digest: Digest, namespace: string): Promise<bigint | undefined> {
    return (
      (await super.sizeOf(digest, namespace)) ?? this.#options.far.sizeOf(this.#placeOf(digest, namespace), digest)
    );
  }

  override async publish(file: string, digest: Digest, namespace: string): Promise<void> {
    if ((await this.sizeOf(digest, namespace)) !== undefined) return;
    const { store, far } = this.#options;
    const place = this.#placeOf(digest, namespace);
    await store.transact((tx) => tx.put(keys.farBlobs(digest), Buffer.from(place)));
    const { size } = await stat(file, { bigint: true });
    await far.write(place, { digest, size }, (offset) => piecesOf(file, offset));
  }

  override async remove(digest: Digest): Promise<void> {
    await super.remove(digest);
    const { store, far } = this.#options;
    const place = this.#noted(digest);
    if (place === undefined) return;
    await far.remove(place, digest);
    await store.transact((tx) => tx.delete(keys.farBlobs(digest)));
  }

  override async *list(): AsyncGenerator<Digest> {
    yield* super.list();
    for (const { key } of this.#options.store.scan(keys.farBlobs())) {
      const digest = key.at(-1) ?? '';
      if (isDigest(digest)) yield digest;
    }
  }

  override async elsewhere(digest: Digest, namespace: string): Promise<FarReader | undefined> {
    if ((await super.sizeOf(digest, namespace)) !== undefined) return undefined;
    const place = this.#placeOf(digest, namespace);
    return (start, end) => this.#options.far.read(place, digest, start, end - start);
  }

  override async local(digest: Digest, namespace: string): Promise<LocalBlob> {
    if ((await super.sizeOf(digest, namespace)) !== undefined) return super.local(digest, namespace);
    const file = path.join(this.#options.fetched, randomUUID());
    const remove = async (): Promise<void> => rm(file, { force: true });
    try {
      await this.#fetch(digest, namespace, file);
    } catch (err) {
      await remove();
      throw err;
    }
    return { path: file, [Symbol.asyncDispose]: remove };
  }

  override async copyTo(digest: Digest, namespace: string, file: string): Promise<void> {
    if ((await super.sizeOf(digest, namespace)) !== undefined) await copyFile(this.pathOf(digest), file);
    else await this.#fetch(digest, namespace, file);
  }

  async #fetch(digest: Digest, namespace: string, file: string): Promise<void> {
    const { far } = this.#options;
    const place = this.#placeOf(digest, namespace);
    const expected = await far.sizeOf(place, digest);
    const handle = await open(file, 'w', 0o600);
    let size = 0n;
    try {
      for await (const piece of far.read(place, digest, 0n, 0n)) {
        await handle.writeFile(piece);
        size += BigInt(piece.length);
      }
    } finally {
      await handle.close();
    }
    if (size !== expected) throw dataLoss(`content ${digest}: ${size} of ${expected ?? 0n} bytes came`);
  }

  /** The namespace there that has the blob: the one it was sent to, else the one that asks. */
  #placeOf(digest: Digest, namespace: string): string {
    return this.#noted(digest) ?? namespace;
  }

  #noted(digest: Digest): string | undefined {
    const noted = this.#options.store.get(keys.farBlobs(digest));
    return noted === undefined ? undefined : Buffer.from(noted).toString('utf8');
  }
}

async function* piecesOf(file: string, offset: bigint): AsyncGenerator<Uint8Array> {
  const handle = await open(file, 'r');
  try {
    for (let position = Number(offset); ;) {
      const buffer = Buffer.allocUnsafe(pieceBytes);
      const { bytesRead } = await handle.read(buffer, 0, pieceBytes, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}
