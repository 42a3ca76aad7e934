/**
 * The one open hand on an ingest. It keeps a running hash beside the file; a writer that found the blob in another
 * namespace starts **adopted**: complete without a file, until somebody writes after all.
 */
import type { Hash } from 'node:crypto';
import { createHash } from 'node:crypto';
import { chmod, constants, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import {
  alreadyExists,
  failedPrecondition,
  failpoint,
  invalidArgument,
  ioError,
  outOfRange,
  unavailable,
} from '@gantry/errors';
import { digestAlgorithm, finishDigest, hasherFor, parseDigest } from '@gantry/oci';
import type { Digest } from '@gantry/oci';
import type { Labels } from '@gantry/store';
import type { BlobFiles } from './blob-files.ts';
import type { CommitOptions, ContentInfo, IngestStatus, Writer } from './content.ts';
import type { IngestFiles } from './ingest-files.ts';
import type { IngestRecord } from './records.ts';
import { noteYoungBuffers } from './young-buffers.ts';

/** Hashing and copying happen in pieces of this size, so that the event loop gets its turn. */
const pieceBytes = 1024 * 1024;

/** What the writer needs of the content store: the transactions, and the lock's release. */
export interface IngestOwner {
  readonly blobs: BlobFiles;
  readonly ingests: IngestFiles;
  /** Records the blob and forgets the ingest, in one transaction; `existed` when the namespace had the blob already. */
  recordBlob(digest: Digest, size: bigint, labels: Labels): Promise<{ info: ContentInfo; existed: boolean }>;
  recordIngest(record: IngestRecord): Promise<void>;
  /** Lets the next writer in. */
  release(): void;
}

export interface WriterState {
  readonly namespace: string;
  readonly ref: string;
  readonly record: IngestRecord;
  /** The size of the blob of digest `record.expected`, when it is to be adopted. */
  readonly adopted: bigint | undefined;
}

export class IngestWriter implements Writer {
  readonly ref: string;
  readonly #namespace: string;
  readonly #owner: IngestOwner;
  readonly #expected: Digest | undefined;
  #record: IngestRecord;
  #adopted: boolean;
  #handle: FileHandle | undefined;
  #hash: Hash;
  #offset = 0n;
  #open = true;

  private constructor(owner: IngestOwner, state: WriterState) {
    this.#owner = owner;
    this.#namespace = state.namespace;
    this.ref = state.ref;
    this.#record = state.record;
    this.#expected = state.record.expected === '' ? undefined : parseDigest(state.record.expected);
    this.#adopted = state.adopted !== undefined;
    this.#offset = state.adopted ?? 0n;
    this.#hash = this.#newHash();
  }

  /** Opens the file and, when there are bytes already, hashes them again. */
  static async open(owner: IngestOwner, state: WriterState): Promise<IngestWriter> {
    const writer = new IngestWriter(owner, state);
    if (!writer.#adopted) {
      try {
        await writer.#openFile();
      } catch (err) {
        await writer.#handle?.close();
        throw ioError(err, `opening ingest ${JSON.stringify(writer.ref)}`, writer.#path());
      }
    }
    return writer;
  }

  status(): IngestStatus {
    const { total, expected, startedAtNs, updatedAtNs, expiresAtNs } = this.#record;
    return {
      ref: this.ref,
      offset: this.#offset,
      total: this.#adopted ? this.#offset : total,
      expected,
      startedAtNs,
      updatedAtNs,
      expiresAtNs,
    };
  }

  digest(): Digest {
    if (this.#adopted && this.#expected !== undefined) return this.#expected;
    return finishDigest(this.#hash.copy(), this.#algorithm());
  }

  async setTotal(total: bigint): Promise<void> {
    this.#mustBeOpen();
    if (total === this.#record.total) return;
    this.#record = { ...this.#record, total };
    await this.#owner.recordIngest(this.#record);
  }

  async write(bytes: Uint8Array | readonly Uint8Array[], offset?: bigint): Promise<void> {
    this.#mustBeOpen();
    if (offset !== undefined && offset !== this.#offset) {
      if (offset !== 0n)
        throw outOfRange(`ref ${JSON.stringify(this.ref)}: offset ${offset}, expected ${this.#offset}`);
      await this.truncate(0n);
    }
    const batches = batchesOf(bytes instanceof Uint8Array ? [bytes] : bytes);
    if (batches.length === 0) return;
    if (this.#adopted) await this.#materialise();
    try {
      await this.#append(batches);
    } catch (err) {
      // The hash no longer follows the file: only reopening, which hashes again, makes them agree.
      await this.close();
      throw ioError(err, `writing ingest ${JSON.stringify(this.ref)}`, this.#path());
    }
  }

  async truncate(size: bigint): Promise<void> {
    this.#mustBeOpen();
    if (size !== 0n)
      throw invalidArgument(`ref ${JSON.stringify(this.ref)}: truncating to ${size}, only 0 is possible`);
    if (this.#adopted) {
      this.#adopted = false;
      await this.#openFile();
    }
    await this.#handle?.truncate(0);
    this.#offset = 0n;
    this.#hash = this.#newHash();
    this.#touch();
  }

  async commit(options: CommitOptions = {}): Promise<ContentInfo> {
    this.#mustBeOpen();
    try {
      return await this.#commit(options);
    } finally {
      await this.close();
    }
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    try {
      await this.#handle?.close();
      // Only for people who look; the data's size is what a resumed ingest goes by.
      await this.#owner.ingests.note(this.#namespace, this.ref, this.#record).catch(() => undefined);
    } finally {
      this.#owner.release();
    }
  }

  async #commit({ size, expected = '', labels = {} }: CommitOptions): Promise<ContentInfo> {
    const wantedSize = size === undefined || size === 0n ? this.#record.total : size;
    if (wantedSize !== 0n && wantedSize !== this.#offset) {
      throw failedPrecondition(`${JSON.stringify(this.ref)} failed size validation: ${this.#offset} != ${wantedSize}`);
    }
    const wanted = expected === '' ? this.#expected : parseDigest(expected);
    const digest = await this.#finalDigest(wanted);
    if (wanted !== undefined && digest !== wanted) {
      throw failedPrecondition(`unexpected commit digest ${digest}, expected ${wanted}`);
    }
    await this.#handle?.sync();
    await this.#handle?.close();
    this.#handle = undefined;
    await failpoint('content.commit.after-sync');
    const { info, existed } = await this.#owner.blobs.exclusive(digest, async () => {
      if (!this.#adopted) await this.#owner.blobs.publish(this.#path(), digest, this.#namespace);
      else if ((await this.#owner.blobs.sizeOf(digest, this.#namespace)) === undefined)
        throw unavailable(`shared blob ${digest} is gone`);
      await failpoint('content.commit.after-publish');
      return this.#owner.recordBlob(digest, this.#offset, labels);
    });
    this.#owner.ingests.doom(this.#namespace, this.ref);
    await failpoint('content.commit.after-record');
    await this.#owner.ingests.remove(this.#namespace, this.ref);
    if (existed) throw alreadyExists(`content ${digest}`, { digest });
    return info;
  }

  /** The digest by the algorithm of `wanted`, which may differ from the one hashed along the way. */
  async #finalDigest(wanted: Digest | undefined): Promise<Digest> {
    if (wanted === undefined || digestAlgorithm(wanted) === this.#algorithm()) return this.digest();
    const hash = hasherFor(wanted);
    await this.#hashFile(hash);
    return finishDigest(hash, digestAlgorithm(wanted));
  }

  async #append(batches: readonly Batch[]): Promise<void> {
    const handle = this.#handle;
    if (handle === undefined) throw unavailable(`ref ${JSON.stringify(this.ref)} is closed`);
    for (const batch of batches) {
      // Hashed while the thread pool writes: whoever waits for the answer waits for the longer of the two.
      const written = writeAll(handle, batch, Number(this.#offset));
      for (const piece of batch.pieces) this.#hash.update(piece);
      await written;
      this.#offset += BigInt(batch.length);
      noteYoungBuffers(batch.length);
    }
    this.#touch();
  }

  async #openFile(): Promise<void> {
    await this.#owner.ingests.make(this.#namespace, this.ref, this.#record);
    this.#handle = await open(this.#path(), constants.O_RDWR | constants.O_CREAT, 0o644);
    this.#hash = this.#newHash();
    this.#offset = await this.#hashFile(this.#hash);
  }

  /** Feeds the whole file to `hash`; gives its size. */
  async #hashFile(hash: Hash): Promise<bigint> {
    const handle = this.#handle;
    if (handle === undefined) return 0n;
    const buffer = Buffer.allocUnsafe(pieceBytes);
    let position = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, pieceBytes, position);
      if (bytesRead === 0) return BigInt(position);
      hash.update(buffer.subarray(0, bytesRead));
      position += bytesRead;
    }
  }

  /** Gives an adopted writer bytes of its own to go on from. */
  async #materialise(): Promise<void> {
    const source = this.#expected;
    if (source === undefined) return;
    await this.#owner.ingests.make(this.#namespace, this.ref, this.#record);
    await this.#owner.blobs.copyTo(source, this.#namespace, this.#path());
    await chmod(this.#path(), 0o644);
    this.#adopted = false;
    await this.#openFile();
  }

  #algorithm(): string {
    return this.#expected === undefined ? 'sha256' : digestAlgorithm(this.#expected);
  }

  #newHash(): Hash {
    return this.#expected === undefined ? createHash('sha256') : hasherFor(this.#expected);
  }

  #path(): string {
    return this.#owner.ingests.dataOf(this.#namespace, this.ref);
  }

  #touch(): void {
    this.#record = { ...this.#record, updatedAtNs: BigInt(Date.now()) * 1_000_000n };
  }

  #mustBeOpen(): void {
    if (!this.#open) throw unavailable(`writer of ref ${JSON.stringify(this.ref)} is closed`);
  }
}

/** Bytes that are hashed and written in one go. */
interface Batch {
  readonly pieces: Uint8Array[];
  length: number;
}

/** In batches of at most `pieceBytes`, whatever the pieces' size; none for no bytes. */
function batchesOf(pieces: readonly Uint8Array[]): Batch[] {
  const batches: Batch[] = [];
  let last: Batch | undefined;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length;) {
      if (last === undefined || last.length === pieceBytes) batches.push((last = { pieces: [], length: 0 }));
      const part = piece.subarray(at, at + pieceBytes - last.length);
      last.pieces.push(part);
      last.length += part.length;
      at += part.length;
    }
  }
  return batches;
}

async function writeAll(handle: FileHandle, { pieces, length }: Batch, position: number): Promise<void> {
  const { bytesWritten } = await handle.writev(pieces, position);
  let done = bytesWritten;
  if (done === length) return;
  const rest = Buffer.concat(pieces); // a disk that is nearly full takes a part
  while (done < length) done += (await handle.write(rest, done, length - done, position + done)).bytesWritten;
}
