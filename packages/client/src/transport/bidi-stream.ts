/** A call with messages in both directions, as `send` and `receive`. */
import { once } from 'node:events';
import { cancelled } from '@gantry/errors';
import type { ClientDuplexStream } from '@grpc/grpc-js';

/**
 * One bidirectional call. Reads are pulled, so an idle caller holds the peer back instead of buffering.
 * Errors are translated by the function given; `close` may be called at any time and more than once.
 */
export class BidiStream<Req, Res> implements Disposable, AsyncIterable<Res> {
  private readonly call: ClientDuplexStream<Req, Res>;
  private readonly replies: AsyncIterator<Res>;
  private readonly translate: (err: unknown) => unknown;
  private readonly signal: AbortSignal | undefined;
  private readonly onAbort: () => void;
  private failure: unknown;

  constructor(
    call: ClientDuplexStream<Req, Res>,
    signal: AbortSignal | undefined,
    translate: (err: unknown) => unknown,
  ) {
    this.call = call;
    this.translate = translate;
    this.signal = signal;
    this.onAbort = (): void => call.cancel();
    call.on('error', (err) => (this.failure ??= err));
    this.replies = (call as AsyncIterable<Res>)[Symbol.asyncIterator]();
    signal?.addEventListener('abort', this.onAbort, { once: true });
    if (signal?.aborted === true) call.cancel();
  }

  /** Resolves when the message may be followed by another (back-pressure); rejects when the call has failed. */
  async send(message: Req): Promise<void> {
    this.throwFailure();
    if (this.call.writable && !this.call.write(message)) {
      await Promise.race([once(this.call, 'drain'), once(this.call, 'close')]).catch(() => undefined);
    }
    this.throwFailure();
  }

  /** The next reply, or undefined when the server has ended the call well. */
  async receive(): Promise<Res | undefined> {
    try {
      const next = await this.replies.next();
      if (next.done === true) {
        this.throwFailure();
        return undefined;
      }
      return next.value;
    } catch (err) {
      throw this.translate(this.failure ?? err);
    }
  }

  /** Tells the server that nothing more will be sent. */
  end(): void {
    this.call.end();
  }

  /** Ends the call whatever its state. */
  close(): void {
    this.failure ??= cancelled('the stream was closed');
    this.signal?.removeEventListener('abort', this.onAbort);
    this.call.cancel();
  }

  /** The replies, until the server ends the call; leaving the loop does not end it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Res, void, void> {
    for (let reply = await this.receive(); reply !== undefined; reply = await this.receive()) yield reply;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private throwFailure(): void {
    if (this.failure !== undefined) throw this.translate(this.failure);
  }
}
