/**
 * The messages of one stream between the socket and the code that reads them, one reader at a time.
 * When `capacity` messages wait, the socket is held until the reader has caught up.
 */

const capacity = 16;

export class MessageQueue<T> implements AsyncIterable<T> {
  private readonly hold: () => () => void;
  private readonly onReturn: () => void;
  private messages: T[] = [];
  private wake: (() => void) | undefined;
  private release: (() => void) | undefined;
  private over = false;
  private failure: unknown = undefined;

  /** `hold` stops the socket and returns what lets it go on; `onReturn` is called when the reader leaves early. */
  constructor(hold: () => () => void, onReturn: () => void = () => {}) {
    this.hold = hold;
    this.onReturn = onReturn;
  }

  /** Messages after the end are dropped. */
  push(message: T): void {
    if (this.over) return;
    this.messages.push(message);
    if (this.messages.length >= capacity) this.release ??= this.hold();
    this.wake?.();
  }

  /** No more messages; those that wait are still read. */
  end(): void {
    this.over = true;
    this.wake?.();
  }

  /** The reader gets `err` after the messages that wait. */
  fail(err: unknown): void {
    if (this.over) return;
    this.failure = err;
    this.end();
  }

  /** Drops what waits and lets the socket go on. */
  discard(): void {
    this.messages = [];
    this.letGo();
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    try {
      for (;;) {
        const message = this.messages.shift();
        if (message !== undefined) {
          if (this.messages.length < capacity / 2) this.letGo();
          yield message;
        } else if (this.over) {
          if (this.failure !== undefined) throw this.failure;
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
          this.wake = undefined;
        }
      }
    } finally {
      this.discard();
      this.onReturn();
    }
  }

  private letGo(): void {
    this.release?.();
    this.release = undefined;
  }
}
