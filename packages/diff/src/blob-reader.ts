/**
 * A layer's blob as it is read for unpacking, one piece ahead of whoever takes them, with the hash of what was read. Its
 * pages leave the cache behind the reader: nobody unpacks a layer twice, and what is unpacked needs the room.
 */
import { closeSync, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { dataLoss, isCode } from '@gantry/errors';
import { POSIX_FADV_DONTNEED } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import { digestAlgorithm, finishDigest, hasherFor } from '@gantry/oci';
import type { Digest } from '@gantry/oci';

/** A piece of a blob: each is a trip to the thread pool and back. */
const pieceBytes = 1024 * 1024;

const readAt = promisify((fd: number, buffer: Buffer, at: bigint, done: (err: Error | null, length: number) => void) =>
  read(fd, buffer, 0, buffer.length, at, done),
);

export class BlobReader implements AsyncDisposable {
  readonly #sys: FileCalls;
  readonly #digest: Digest;
  readonly #fd: number;
  /** Of what was handed out; undefined when nobody needs it. */
  #hash: ReturnType<typeof hasherFor> | undefined;
  /** Two, of which one is filled while the other is used; undefined while every piece has its own. */
  #lent: [Buffer, Buffer] | undefined;
  #ahead: Promise<Buffer> | undefined;
  #asked = 0n;
  #read = 0n;
  #readable = true;
  #turn: Promise<unknown> = Promise.resolve();

  /** Throws what open(2) says. */
  constructor(sys: FileCalls, path: string, digest: Digest) {
    this.#sys = sys;
    this.#digest = digest;
    this.#hash = hasherFor(digest);
    this.#fd = openSync(path, 'r');
  }

  get algorithm(): string {
    return digestAlgorithm(this.#digest);
  }

  /** From now on a piece is good until the next one is asked for. */
  lend(): void {
    this.#lent = [Buffer.allocUnsafeSlow(pieceBytes), Buffer.allocUnsafeSlow(pieceBytes)];
  }

  /**
   * What follows is not hashed: whoever unpacks the bytes compares the digest of what comes out, and a blob that cannot be
   * unpacked is read again to say why.
   */
  leaveUnhashed(): void {
    this.#hash = undefined;
  }

  /** The digest of what was read so far, by the algorithm of the expected one. */
  found(): Digest {
    return finishDigest((this.#hash ?? hasherFor(this.#digest)).copy(), this.algorithm);
  }

  /**
   * The bytes from where the last reader stopped. Not ended by its consumer: `explain` goes on, beside what an unpacker that
   * gave up has still asked for.
   */
  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = this.#turn.then(async () => this.#piece());
      this.#turn = piece.catch(() => undefined);
      const bytes = await piece;
      if (bytes.length === 0) return;
      yield bytes;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn;
    await this.#ahead?.catch(() => undefined);
    this.#sys.fadvise(this.#fd, 0n, 0n, POSIX_FADV_DONTNEED);
    closeSync(this.#fd);
  }

  /** After the last byte: throws data loss when it was another blob, as far as that was hashed. */
  verify(size: bigint | undefined): void {
    this.#check(size, this.#hash === undefined ? this.#digest : this.found());
  }

  /**
   * After the failure `cause`: reads the rest, or all of what was not hashed, and throws data loss when it is another blob. One
   * that cannot be read tells nothing more.
   */
  async explain(size: bigint | undefined, cause: unknown): Promise<void> {
    if (isCode(cause, 'data loss')) return;
    try {
      for await (const bytes of this.read()) void bytes;
      if (this.#hash === undefined) await this.#hashAll();
    } catch {
      return; // the cause is reported
    }
    if (this.#readable) this.#check(size, this.found(), cause);
  }

  /** The next bytes, hashed; none at the end. */
  async #piece(): Promise<Uint8Array> {
    const bytes = await (this.#ahead ?? this.#fill());
    this.#ahead = undefined;
    if (bytes.length === 0) return bytes;
    this.#ahead = this.#fill();
    this.#ahead.catch(() => undefined); // whoever asks next is told
    this.#hash?.update(bytes);
    this.#sys.fadvise(this.#fd, 0n, this.#read, POSIX_FADV_DONTNEED);
    this.#read += BigInt(bytes.length);
    return bytes;
  }

  async #fill(): Promise<Buffer> {
    const buffer = this.#lent === undefined ? Buffer.allocUnsafeSlow(pieceBytes) : this.#lent[0];
    if (this.#lent !== undefined) this.#lent.reverse();
    try {
      const length = await readAt(this.#fd, buffer, this.#asked);
      this.#asked += BigInt(length);
      return buffer.subarray(0, length);
    } catch (err) {
      this.#readable = false;
      throw err;
    }
  }

  async #hashAll(): Promise<void> {
    const hash = hasherFor(this.#digest);
    const buffer = Buffer.allocUnsafeSlow(pieceBytes);
    for (let at = 0n; at < this.#read;) {
      const length = await readAt(this.#fd, buffer, at);
      if (length === 0) break;
      hash.update(buffer.subarray(0, length));
      at += BigInt(length);
    }
    this.#hash = hash;
  }

  #check(size: bigint | undefined, found: Digest, cause?: unknown): void {
    if (size !== undefined && size !== 0n && size !== this.#read) {
      throw dataLoss(`blob ${this.#digest} has ${this.#read} bytes, expected ${size}`, {}, cause);
    }
    if (found !== this.#digest) throw dataLoss(`blob ${this.#digest} has the digest ${found}`, {}, cause);
  }
}
