/**
 * The content store: blobs shared by all namespaces on disk, records of them per namespace in the metadata store.
 *
 * The order that makes it safe at every instruction: bytes → fsync → rename into place → fsync of the directory →
 * record (durable) → answer. What a crash leaves in between is a file without a record, which nobody sees and
 * `removeUnreferencedBlobs` takes away.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { alreadyExists, dataLoss, invalidArgument, ioError, notFound, outOfRange, unavailable } from '@gantry/errors';
import { parseDigest } from '@gantry/oci';
import type { Digest } from '@gantry/oci';
import {
  addLeaseResource,
  keys,
  leaseResourceTypes,
  presentLabels,
  removeLeaseResource,
  requireLease,
  updatedLabels,
} from '@gantry/store';
import type { Labels, Store, Transaction } from '@gantry/store';
import { BlobFiles } from './blob-files.ts';
import type { LocalBlob } from './blob-files.ts';
import { BufferPool } from './buffer-pool.ts';
import type {
  ContentInfo,
  ContentReport,
  IngestStatus,
  LentPiece,
  ReadOptions,
  Writer,
  WriterOptions,
} from './content.ts';
import { FarBlobFiles } from './far-content.ts';
import type { FarContent } from './far-content.ts';
import { IngestFiles } from './ingest-files.ts';
import { IngestWriter } from './ingest-writer.ts';
import type { IngestOwner } from './ingest-writer.ts';
import { OpenBlobs, readAt } from './open-blobs.ts';
import { isReferenced, namespacesWith, reconcileContent, unreferencedBlobs } from './reconcile.ts';
import { decodeInfo, decodeIngest, encodeInfo, encodeIngest } from './records.ts';
import type { IngestRecord } from './records.ts';

/** Largest piece `read` yields. */
export const readPieceBytes = 1024 * 1024;

/** Pieces up to this size come from the heap's own slabs: there is nothing to be saved. */
const smallPieceBytes = 64 * 1024;

/** Buffers for pieces that are kept while nobody reads: some readers at once get by with them. */
const keptBuffers = 4;

/** How long an ingest that no lease holds is kept. */
export const ingestLifetimeMs = 24 * 60 * 60 * 1000;

export interface ContentStoreOptions {
  /** The content directory: `blobs/` and `ingest/` below it. */
  readonly root: string;
  readonly store: Store;
  /**
   * Whether what a namespace has may become another's by its digest alone, without the bytes being sent again. All share by
   * default; to send a blob is always allowed, and it is stored once.
   */
  readonly shares?: (namespace: string) => boolean;
  /** Where the bytes of blobs are, when that is another process: see far-content.ts. */
  readonly far?: FarContent | undefined;
}

/** See the top of this file and content.ts for the guarantees. Digests are text from outside and are parsed here. */
export class ContentStore {
  readonly root: string;
  readonly #store: Store;
  readonly #shares: ((namespace: string) => boolean) | undefined;
  readonly #blobs: BlobFiles;
  readonly #ingests: IngestFiles;
  readonly #open = new OpenBlobs();
  readonly #buffers = new BufferPool(readPieceBytes, keptBuffers);
  /** `namespace/ref` → since when, and the writer once it is open. */
  readonly #writers = new Map<string, { readonly sinceMs: number; writer?: IngestWriter }>();

  constructor({ root, store, shares, far }: ContentStoreOptions) {
    this.root = root;
    this.#store = store;
    this.#shares = shares;
    const blobs = path.join(root, 'blobs');
    const fetched = path.join(root, 'fetched');
    this.#blobs = far === undefined ? new BlobFiles(blobs) : new FarBlobFiles({ root: blobs, fetched, store, far });
    this.#ingests = new IngestFiles(path.join(root, 'ingest'));
  }

  /** Makes the directories and compares disk and records. Call once, before anything else. */
  async reconcile(): Promise<ContentReport> {
    await this.#blobs.prepare();
    await mkdir(this.#ingests.root, { recursive: true, mode: 0o755 });
    return reconcileContent(this.#store, this.#blobs, this.#ingests);
  }

  /** Throws not found when the namespace does not have the blob, invalid argument for a bad digest. */
  info(namespace: string, unsafeDigest: string): ContentInfo {
    const digest = parseDigest(unsafeDigest);
    const bytes = this.#store.get(keys.content(namespace, digest));
    if (bytes === undefined) throw notFound(`content digest ${digest}`, { digest });
    return decodeInfo(digest, bytes);
  }

  /** True when the namespace has the blob. Throws invalid argument for a bad digest. */
  has(namespace: string, unsafeDigest: string): boolean {
    return this.#store.get(keys.content(namespace, parseDigest(unsafeDigest))) !== undefined;
  }

  /**
   * Changes labels: all of them without `paths`, else those named (`labels`, `labels.<key>`). An empty value removes a
   * label. Throws not found, invalid argument for another path.
   */
  async update(
    namespace: string,
    change: { readonly digest: string; readonly labels: Labels },
    paths: readonly string[] = [],
  ): Promise<ContentInfo> {
    const digest = parseDigest(change.digest);
    return this.#store.transact((tx) => {
      const old = infoIn(tx, namespace, digest);
      const labels = updatedLabels(old.labels, change.labels, paths);
      const info: ContentInfo = { ...old, labels, updatedAtNs: nowNs() };
      tx.put(keys.content(namespace, digest), encodeInfo(info));
      return info;
    });
  }

  /** The namespace's blobs in the order of their digests. */
  *list(namespace: string): Generator<ContentInfo> {
    for (const { key, value } of this.#store.scan(keys.content(namespace))) yield decodeInfo(key.at(-1) ?? '', value);
  }

  /**
   * Takes the blob from the namespace and from the request's lease. The bytes stay until `removeUnreferencedBlobs`.
   * Throws not found.
   */
  async delete(namespace: string, unsafeDigest: string, lease?: string): Promise<void> {
    const digest = parseDigest(unsafeDigest);
    await this.#store.transact((tx) => this.deleteIn(tx, namespace, digest, lease));
  }

  /** `delete` as part of a larger transaction (garbage collection). */
  deleteIn(tx: Transaction, namespace: string, digest: string, lease?: string): void {
    infoIn(tx, namespace, parseDigest(digest));
    tx.delete(keys.content(namespace, digest));
    removeLeaseResource(tx, namespace, lease, leaseResourceTypes.content, digest);
  }

  /** The blob's file, for readers that open it themselves; read-only. Throws not found; unavailable when it cannot be fetched. */
  async localFile(namespace: string, digest: string): Promise<LocalBlob> {
    return this.#blobs.local(this.info(namespace, digest).digest, namespace);
  }

  /** Where the blob is in a store whose blobs are files here. Throws not found. */
  blobPath(namespace: string, digest: string): string {
    return this.#blobs.pathOf(this.info(namespace, digest).digest);
  }

  /** The blob's bytes in pieces of up to 1 MiB, each the caller's own. Throws not found, out of range. */
  async *read(namespace: string, digest: string, options: ReadOptions = {}): AsyncGenerator<Uint8Array> {
    for await (const { bytes } of this.#pieces(namespace, digest, options, (length) => Buffer.allocUnsafe(length))) {
      yield bytes;
    }
  }

  /**
   * As `read`, for callers that hand the bytes on at once: each piece is lent until `release` is called, which has to be
   * before the store is closed and may be in any order. A piece that is never released is only lost to the pool.
   */
  async *readLent(namespace: string, digest: string, options: ReadOptions = {}): AsyncGenerator<LentPiece> {
    const pieces = this.#pieces(namespace, digest, options, (length) =>
      length > smallPieceBytes ? this.#buffers.take() : Buffer.allocUnsafe(length),
    );
    for await (const { bytes, buffer } of pieces) {
      const isLent = buffer?.length === readPieceBytes;
      yield { bytes, release: isLent ? () => this.#buffers.give(buffer) : () => undefined };
    }
  }

  async *#pieces(
    namespace: string,
    digest: string,
    options: ReadOptions,
    bufferFor: (length: number) => Buffer,
  ): AsyncGenerator<{ readonly bytes: Buffer; readonly buffer: Buffer | undefined }> {
    const info = this.info(namespace, digest);
    const start = options.offset === undefined || options.offset < 0n ? 0n : options.offset;
    if (start > info.size) throw outOfRange(`content ${info.digest}: offset ${start} past the end at ${info.size}`);
    const wanted = options.size === undefined || options.size <= 0n ? info.size : options.size;
    const end = start + wanted > info.size ? info.size : start + wanted;
    const elsewhere = await this.#blobs.elsewhere(info.digest, namespace);
    if (elsewhere !== undefined) {
      if (start < end) yield* piecesFrom(elsewhere(start, end), end - start, info.digest);
      return;
    }
    const file = this.#blobs.pathOf(info.digest);
    for (let position = start; position < end;) {
      const length = Math.min(readPieceBytes, Number(end - position));
      const buffer = bufferFor(length);
      const at = Number(position);
      const bytesRead = await this.#open
        .with(info.digest, file, async (fd) => readAt(fd, buffer, length, at))
        .catch((err: unknown) => {
          throw ioError(err, `reading content ${info.digest}`, file);
        });
      if (bytesRead === 0) throw unavailable(`content ${info.digest}: file is shorter than recorded`);
      position += BigInt(bytesRead);
      yield { bytes: buffer.subarray(0, bytesRead), buffer };
    }
  }

  /**
   * Takes the writer's place on a ref. Unavailable while somebody else has it; already exists when `expected` is in the
   * namespace (the lease then holds it); not found for an unknown lease. Close the writer in `finally`.
   */
  async openWriter(namespace: string, options: WriterOptions): Promise<Writer> {
    const { ref, lease, total = 0n, resumable = false } = options;
    if (ref === '') throw invalidArgument('ref must not be empty');
    const expected = options.expected === undefined || options.expected === '' ? '' : parseDigest(options.expected);
    const name = `${namespace}/${ref}`;
    const holder = this.#writers.get(name);
    if (holder !== undefined) {
      const seconds = ((Date.now() - holder.sinceMs) / 1000).toFixed(3);
      throw unavailable(`ref ${name} locked for ${seconds}s`, { ref });
    }
    const place: { readonly sinceMs: number; writer?: IngestWriter } = { sinceMs: Date.now() };
    this.#writers.set(name, place);
    try {
      const begin = async (adoptable: bigint | undefined): Promise<IngestWriter> => {
        const record = await this.#beginIngest(namespace, { ref, lease, total, expected, resumable });
        const adopted = (await this.#ingests.sizeOf(namespace, ref)) === 0n ? adoptable : undefined;
        return IngestWriter.open(this.#owner(namespace, ref, lease), { namespace, ref, record, adopted });
      };
      place.writer =
        expected === ''
          ? await begin(undefined)
          : await this.#blobs.exclusive(expected, async () => begin(await this.#adoptable(namespace, expected, total)));
      return place.writer;
    } catch (err) {
      this.#writers.delete(name);
      throw err;
    }
  }

  /** Throws not found. */
  async status(namespace: string, ref: string): Promise<IngestStatus> {
    const bytes = this.#store.get(keys.ingests(namespace, ref));
    if (bytes === undefined) throw notFound(`ingest ${JSON.stringify(ref)}`, { ref });
    return this.#statusOf(namespace, ref, decodeIngest(ref, bytes));
  }

  /** The namespace's ingests in the order of their refs. */
  async *statuses(namespace: string): AsyncGenerator<IngestStatus> {
    for (const { key, value } of this.#store.scan(keys.ingests(namespace))) {
      const ref = key.at(-1) ?? '';
      yield await this.#statusOf(namespace, ref, decodeIngest(ref, value));
    }
  }

  /** Removes an ingest, also from the lease; an open writer of it is closed. Throws not found. */
  async abort(namespace: string, ref: string, lease?: string): Promise<void> {
    await this.#writers.get(`${namespace}/${ref}`)?.writer?.close();
    await this.#store.transact((tx) => {
      if (tx.get(keys.ingests(namespace, ref)) === undefined) throw notFound(`ingest ${JSON.stringify(ref)}`, { ref });
      tx.delete(keys.ingests(namespace, ref));
      removeLeaseResource(tx, namespace, lease, leaseResourceTypes.ingests, ref);
    });
    await this.#ingests.remove(namespace, ref);
  }

  /** Removes the files of ingests that no record speaks of any more, which an earlier removal failed at. Gives what goes wrong. */
  async removeDoomedIngests(): Promise<unknown[]> {
    return this.#ingests.removeDoomed();
  }

  /**
   * Deletes the files of blobs that no namespace has and no ingest expects; gives what was removed. Safe beside commits.
   * A file that cannot be removed is passed to `onError` and left for the next time.
   */
  async removeUnreferencedBlobs(onError: (err: unknown, digest: Digest) => void = () => undefined): Promise<Digest[]> {
    const removed: Digest[] = [];
    for await (const digest of unreferencedBlobs(this.#store, this.#blobs)) {
      try {
        const gone = await this.#blobs.exclusive(digest, async () => {
          if (isReferenced(this.#store, digest)) return false;
          this.#open.forget(digest);
          await this.#blobs.remove(digest);
          return true;
        });
        if (gone) removed.push(digest);
      } catch (err) {
        onError(err, digest);
      }
    }
    return removed;
  }

  /** The size of a blob that may be taken over; a total that contradicts it is a mistake to be found at the commit. */
  async #adoptable(namespace: string, digest: Digest, total: bigint): Promise<bigint | undefined> {
    const shares = this.#shares;
    const isShared = shares === undefined || namespacesWith(this.#store, digest).some(shares);
    const size = isShared ? await this.#blobs.sizeOf(digest, namespace) : undefined;
    return total === 0n || total === size ? size : undefined;
  }

  async #beginIngest(namespace: string, { ref, lease, total, expected, resumable }: NewIngest): Promise<IngestRecord> {
    const key = keys.ingests(namespace, ref);
    const outcome = await this.#store.transact((tx) => {
      if (expected !== '' && tx.get(keys.content(namespace, expected)) !== undefined) {
        addLeaseResource(tx, namespace, lease, leaseResourceTypes.content, expected);
        return 'exists';
      }
      if (resumable) requireLease(tx, namespace, lease);
      else addLeaseResource(tx, namespace, lease, leaseResourceTypes.ingests, ref);
      const leased = !resumable && lease !== undefined && lease !== '';
      const bytes = tx.get(key);
      const old = bytes === undefined ? undefined : decodeIngest(ref, bytes);
      const record = begunIngest(old, { leased, total, expected });
      tx.put(key, encodeIngest(record));
      return { record, startOver: old !== undefined && old.total !== 0n && total !== 0n && old.total !== total };
    });
    if (outcome === 'exists') throw alreadyExists(`content ${expected}`, { digest: expected });
    if (outcome.startOver) await this.#ingests.remove(namespace, ref);
    return outcome.record;
  }

  #owner(namespace: string, ref: string, lease: string | undefined): IngestOwner {
    return {
      blobs: this.#blobs,
      ingests: this.#ingests,
      release: () => void this.#writers.delete(`${namespace}/${ref}`),
      recordIngest: async (record) =>
        this.#store.transact((tx) => tx.put(keys.ingests(namespace, ref), encodeIngest(record))),
      recordBlob: async (digest, size, labels) =>
        this.#store.transact((tx) => {
          const bytes = tx.get(keys.content(namespace, digest));
          const at = nowNs();
          const info: ContentInfo =
            bytes === undefined
              ? { digest, size, createdAtNs: at, updatedAtNs: at, labels: presentLabels(labels) }
              : decodeInfo(digest, bytes);
          if (bytes === undefined) tx.put(keys.content(namespace, digest), encodeInfo(info));
          tx.delete(keys.ingests(namespace, ref));
          removeLeaseResource(tx, namespace, lease, leaseResourceTypes.ingests, ref);
          addLeaseResource(tx, namespace, lease, leaseResourceTypes.content, digest);
          return { info, existed: bytes !== undefined };
        }),
    };
  }

  async #statusOf(namespace: string, ref: string, record: IngestRecord): Promise<IngestStatus> {
    const writer = this.#writers.get(`${namespace}/${ref}`)?.writer;
    if (writer !== undefined) return writer.status();
    return { ref, ...record, offset: await this.#ingests.sizeOf(namespace, ref) };
  }
}

/** What comes from another process, which must be as much as was asked for. */
async function* piecesFrom(
  source: AsyncIterable<Uint8Array>,
  wanted: bigint,
  digest: Digest,
): AsyncGenerator<{ readonly bytes: Buffer; readonly buffer: undefined }> {
  let left = wanted;
  for await (const piece of source) {
    left -= BigInt(piece.length);
    if (left < 0n) break;
    yield { bytes: Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength), buffer: undefined };
  }
  if (left !== 0n) throw dataLoss(`content ${digest}: ${wanted - left} bytes came, ${wanted} were asked for`);
}

interface NewIngest {
  readonly ref: string;
  readonly lease: string | undefined;
  readonly total: bigint;
  readonly expected: Digest | '';
  readonly resumable: boolean;
}

function infoIn(tx: Transaction, namespace: string, digest: Digest): ContentInfo {
  const bytes = tx.get(keys.content(namespace, digest));
  if (bytes === undefined) throw notFound(`content digest ${digest}`, { digest });
  return decodeInfo(digest, bytes);
}

/** A new ingest's record, or an old one's as the next writer takes it up. */
function begunIngest(
  old: IngestRecord | undefined,
  { leased, total, expected }: { leased: boolean; total: bigint; expected: string },
): IngestRecord {
  const at = nowNs();
  return {
    total: total === 0n ? (old?.total ?? 0n) : total,
    expected: expected === '' ? (old?.expected ?? '') : expected,
    startedAtNs: old?.startedAtNs ?? at,
    updatedAtNs: at,
    expiresAtNs: leased ? undefined : at + BigInt(ingestLifetimeMs) * 1_000_000n,
  };
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
