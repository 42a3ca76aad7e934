/**
 * Buffers of one size that are lent and given back. Each megabyte that is allocated anew lies outside of V8's heap and brings
 * its next collection nearer; at hundreds of megabytes a second that is half of the processor time.
 */
export class BufferPool {
  readonly #bytes: number;
  readonly #most: number;
  readonly #idle: Buffer[] = [];

  /** `most` are kept when nobody has them. */
  constructor(bytes: number, most: number) {
    this.#bytes = bytes;
    this.#most = most;
  }

  /** A buffer with anything in it. */
  take(): Buffer {
    return this.#idle.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
  }

  /** Gives back what `take` gave; its taker does not touch it any more. */
  give(buffer: Buffer): void {
    if (this.#idle.length < this.#most) this.#idle.push(buffer);
  }
}
