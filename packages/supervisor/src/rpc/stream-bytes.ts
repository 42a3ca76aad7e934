/** The bytes of a request as a queue: the stream is read no further ahead than what is worth a write or two. */
import type { Readable } from 'node:stream';
import { unavailable } from '@gantry/errors';
import type { ByteQueue } from './parted-messages.ts';

const aheadBytes = 512 * 1024;

/** Reads `stream` from now on; whoever made it sees to its end. */
export class StreamBytes implements ByteQueue {
  readonly #stream: Readable;
  readonly #pieces: Buffer[] = [];
  #length = 0;
  #ended = false;
  #dropped = false;
  #broken: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(stream: Readable) {
    this.#stream = stream;
    stream.on('data', (piece: Buffer) => this.#push(piece));
    stream.once('end', () => {
      this.#ended = true;
      this.#wake?.();
    });
    stream.once('close', () => this.break(unavailable('the stream was closed')));
  }

  /** Fails whoever waits, and all who ask from now on; without effect after the end. */
  break(reason: Error): void {
    if (this.#ended) return;
    this.#broken ??= reason;
    this.#wake?.();
  }

  /** What is there and what still comes goes nowhere. */
  drop(): void {
    this.#dropped = true;
    this.#pieces.length = 0;
    this.#stream.resume();
  }

  async take(atMost: number): Promise<Buffer | undefined> {
    while (this.#pieces.length === 0) {
      if (this.#broken !== undefined) throw this.#broken;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    return this.#shift(atMost);
  }

  takeReady(atMost: number): Buffer[] {
    const taken: Buffer[] = [];
    for (let left = atMost; left > 0;) {
      const piece = this.#shift(left);
      if (piece === undefined) break;
      taken.push(piece);
      left -= piece.length;
    }
    return taken;
  }

  #shift(atMost: number): Buffer | undefined {
    const [piece] = this.#pieces;
    if (piece === undefined) return undefined;
    const taken = piece.length <= atMost ? piece : piece.subarray(0, atMost);
    if (taken === piece) this.#pieces.shift();
    else this.#pieces[0] = piece.subarray(atMost);
    this.#length -= taken.length;
    if (this.#length < aheadBytes && this.#stream.isPaused()) this.#stream.resume();
    return taken;
  }

  #push(piece: Buffer): void {
    if (this.#dropped) return;
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length >= aheadBytes) this.#stream.pause();
    this.#wake?.();
  }
}
