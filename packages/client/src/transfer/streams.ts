/** Streams that a transfer uses: opened here, named in its request, used by the server (Streaming service). */
import { randomBytes } from 'node:crypto';
import { isAny, packAny, streaming, transferTypes, unpackAny, wellKnown } from '@gantry/api';
import { internal, isCode } from '@gantry/errors';
import type { BidiStream } from '../transport/bidi-stream.ts';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = streaming.StreamingService;

/** Data in one message, and what a receiver lets the sender have under way; the sizes that containerd's clients use. */
const dataBytes = 32 * 1024;
const windowBytes = 1024 * 1024;

/** One open stream; whoever opened it closes it: `using stream = await TransferStream.open(…)`. */
export class TransferStream implements Disposable {
  readonly id: string;
  private readonly call: BidiStream<wellKnown.Any, wellKnown.Any>;

  private constructor(id: string, call: BidiStream<wellKnown.Any, wellKnown.Any>) {
    this.id = id;
    this.call = call;
  }

  /** Resolves when the server knows the stream. Not implemented by servers without the service. */
  static async open(transport: Transport, purpose: string, options: CallOptions): Promise<TransferStream> {
    const id = `${purpose}-${randomBytes(9).toString('base64url')}`;
    const call = transport.bidi(service, service.methods.stream, { ...options, timeoutMs: 0 });
    try {
      await call.send(packAny(streaming.StreamInit, { id }));
      const answer = await call.receive();
      if (!isAny(wellKnown.Empty, answer)) throw internal(`stream ${id} was not acknowledged`);
      return new TransferStream(id, call);
    } catch (err) {
      call.close();
      throw err;
    }
  }

  send(message: wellKnown.Any): Promise<void> {
    return this.call.send(message);
  }

  /** Undefined at the end. */
  receive(): Promise<wellKnown.Any | undefined> {
    return this.call.receive();
  }

  /** Sends bytes as the server takes them, then ends this side. */
  async sendBytes(source: AsyncIterable<Uint8Array>): Promise<void> {
    let granted = 0;
    for await (const bytes of source) {
      for (let start = 0; start < bytes.length;) {
        while (granted <= 0) granted += await this.grant();
        const piece = bytes.subarray(start, start + Math.min(granted, dataBytes));
        await this.send(packAny(transferTypes.Data, { data: piece }));
        granted -= piece.length;
        start += piece.length;
      }
    }
    this.call.end();
  }

  /** The bytes that the server sends, to its end. */
  async *receiveBytes(): AsyncGenerator<Uint8Array, void, void> {
    for (let granted = 0; ;) {
      if (granted < windowBytes / 2) {
        await this.send(packAny(transferTypes.WindowUpdate, { update: windowBytes }));
        granted += windowBytes;
      }
      const message = await this.receive();
      if (message === undefined) return;
      const { data } = unpackAny(transferTypes.Data, message);
      granted -= data.length;
      yield data;
    }
  }

  close(): void {
    this.call.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private async grant(): Promise<number> {
    const message = await this.receive();
    if (message === undefined) throw internal(`stream ${this.id} ended before its bytes were sent`);
    return unpackAny(transferTypes.WindowUpdate, message).update;
  }
}

/** Reads messages until the end; a stream that is closed or cut off has ended as well. */
export async function eachMessage(
  stream: TransferStream,
  handle: (message: wellKnown.Any) => Promise<void> | void,
): Promise<void> {
  try {
    for (let message = await stream.receive(); message !== undefined; message = await stream.receive()) {
      await handle(message);
    }
  } catch (err) {
    // What matters is how the transfer itself ends.
    if (!isCode(err, 'cancelled') && !isCode(err, 'unavailable')) throw err;
  }
}
