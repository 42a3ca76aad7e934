/** One call on the client's side, from its request to the frame that settles it. */
import type { MethodType, PartialMessage } from '@gantry/api/shim';
import { ttrpcWire } from '@gantry/api/shim';
import { failedPrecondition, fromStatus, internal, messageOf } from '@gantry/errors';
import { frameFlags, frameTypes } from './frame.ts';
import type { Frame } from './frame.ts';
import { MessageQueue } from './message-queue.ts';

/** What the connection does with the frames of a call. */
export interface ClientCall {
  /** Takes a frame; true when it was the last one. */
  receive(frame: Frame): boolean;
  fail(err: unknown): void;
}

/** A call with one request and one answer. */
export class UnaryCall<Response> implements ClientCall {
  private readonly method: MethodType<unknown, Response>;
  private readonly resolve: (response: Response) => void;
  private readonly reject: (err: unknown) => void;

  constructor(
    method: MethodType<unknown, Response>,
    resolve: (response: Response) => void,
    reject: (err: unknown) => void,
  ) {
    this.method = method;
    this.resolve = resolve;
    this.reject = reject;
  }

  receive(frame: Frame): boolean {
    try {
      if (frame.type !== frameTypes.response) throw internal(`ttrpc: stream data in answer to ${this.method.name}`);
      this.resolve(decodeAnswer(this.method, frame.data));
    } catch (err) {
      this.reject(err);
    }
    return true;
  }

  fail(err: unknown): void {
    this.reject(err);
  }
}

/** What a streaming call sends through. */
export interface StreamOutput {
  data(flags: number, message: Uint8Array): void;
  writable(): Promise<void>;
  hold(): () => void;
  /** The caller has lost interest. */
  cancel(): void;
}

const noBytes = new Uint8Array(0);

/**
 * A streaming call: send messages, and iterate over the answers (once). Leaving the iteration early cancels the call, as far
 * as ttrpc knows that: answers that still come are dropped.
 */
export class TtrpcStream<Request = unknown, Response = unknown> implements ClientCall, AsyncIterable<Response> {
  private readonly method: MethodType<Request, Response>;
  private readonly output: StreamOutput;
  private readonly answers: MessageQueue<Response>;
  private sendClosed: boolean;
  private failure: unknown = undefined;
  private over = false;

  constructor(method: MethodType<Request, Response>, output: StreamOutput) {
    this.method = method;
    this.output = output;
    this.sendClosed = !method.requestStream;
    this.answers = new MessageQueue<Response>(
      () => output.hold(),
      () => this.cancel(),
    );
  }

  /** Sends one message and resolves when there is room for the next. Rejects when the call is over. */
  async send(message: PartialMessage<Request>): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    if (this.sendClosed || this.over) throw failedPrecondition(`ttrpc: ${this.method.name}: closed for sending`);
    const { requestType } = this.method;
    this.output.data(0, requestType.encode(requestType.create(message)));
    await this.output.writable();
  }

  /** Tells the server that no more messages come. Can be repeated. */
  closeSend(): void {
    if (this.sendClosed || this.over) return;
    this.sendClosed = true;
    this.output.data(frameFlags.remoteClosed | frameFlags.noData, noBytes);
  }

  /** Ends the call here; the server is not told, for ttrpc has no word for it. */
  cancel(): void {
    if (this.over) return;
    this.over = true;
    this.answers.discard();
    this.output.cancel();
  }

  [Symbol.asyncIterator](): AsyncGenerator<Response, void, void> {
    return this.answers[Symbol.asyncIterator]();
  }

  /** The single answer of a method that streams requests only. Throws internal when there is none. */
  async response(): Promise<Response> {
    for await (const answer of this) return answer;
    throw internal(`ttrpc: ${this.method.name} ended without an answer`);
  }

  receive(frame: Frame): boolean {
    try {
      if (frame.type === frameTypes.response) return this.receiveResponse(frame);
      const { responseType } = this.method;
      if ((frame.flags & frameFlags.noData) === 0) {
        this.answers.push(decode(this.method, () => responseType.decode(frame.data)));
      }
      if ((frame.flags & frameFlags.remoteClosed) === 0) return false;
      this.end();
    } catch (err) {
      this.fail(err);
    }
    return true;
  }

  fail(err: unknown): void {
    this.failure ??= err;
    this.over = true;
    this.answers.fail(err);
  }

  private receiveResponse(frame: Frame): boolean {
    const answer = decodeAnswer(this.method, frame.data);
    if (!this.method.responseStream) this.answers.push(answer);
    this.end();
    return true;
  }

  private end(): void {
    this.over = true;
    this.answers.end();
  }
}

/** The message of a Response frame. Throws the error that it carries. */
function decodeAnswer<Response>(method: MethodType<unknown, Response>, data: Uint8Array): Response {
  const { status, payload } = decode(method, () => ttrpcWire.Response.decode(data));
  if (status !== undefined && status.code !== 0) throw fromStatus(status);
  return decode(method, () => method.responseType.decode(payload));
}

function decode<T>(method: MethodType, read: () => T): T {
  try {
    return read();
  } catch (err) {
    throw internal(`ttrpc: answer to ${method.name}: ${messageOf(err)}`, {}, err);
  }
}
