/**
 * An answer whose bytes are lent: they are copied once, into the frame that grpc-js sends, and given back then. An encoded
 * message of a megabyte would be allocated and copied twice on that way.
 */
import { noteYoungBuffers } from '@gantry/content';

export class LentMessage {
  readonly byteLength: number;
  readonly #head: Buffer;
  readonly #body: Buffer;
  readonly #release: () => void;
  #sent: (() => void) | undefined;
  #isSent = false;

  /** `head` and `body` are the encoded message; `release` is called when `body` is not needed any more. */
  constructor(head: Buffer, body: Buffer, release: () => void) {
    this.#head = head;
    this.#body = body;
    this.#release = release;
    this.byteLength = head.length + body.length;
  }

  /** Resolves when the bytes were taken; until then nothing else should be written. */
  get sent(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isSent) resolve();
      else this.#sent = resolve;
    });
  }

  /** As Buffer.copy, for all of it. */
  copy(target: Buffer, at = 0): number {
    this.#head.copy(target, at);
    this.#body.copy(target, at + this.#head.length);
    noteYoungBuffers(this.byteLength); // the target, which grpc-js has made for it
    this.drop();
    return this.byteLength;
  }

  /** Gives the bytes back without having sent them. Idempotent. */
  drop(): void {
    if (this.#isSent) return;
    this.#isSent = true;
    this.#release();
    this.#sent?.();
  }

  /** What grpc-js takes for a serialized message: it asks for `byteLength` and calls `copy`, once, and nothing else. */
  asBuffer(): Buffer {
    return this as unknown as Buffer;
  }
}
