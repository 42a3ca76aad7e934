/** One call on the server's side, from its request to its last frame. */
import type { MethodType, ttrpcWire } from '@gantry/api/shim';
import { deadlineExceeded, invalidArgument } from '@gantry/errors';
import type { AnyHandler, CallContext, Route } from './handlers.ts';
import { MessageQueue } from './message-queue.ts';
import { metadataFromWire } from './metadata.ts';
import type { Metadata } from './metadata.ts';

/** setTimeout's limit; a longer deadline is as good as none. */
const maxTimerMs = 0x7fffffff;

/** What a call needs of its connection. */
export interface CallOutput {
  /** One message of a streamed answer. */
  data(message: Uint8Array): void;
  /** The end of a streamed answer. */
  dataEnd(): void;
  response(payload: Uint8Array): void;
  failure(err: unknown): void;
  /** Resolves when there is room for more data. */
  writable(): Promise<void>;
  /** Stops reading the connection until the returned function is called. */
  hold(): () => void;
  /** The call has sent its last frame. */
  finished(): void;
}

export class ServerCall implements CallContext {
  readonly metadata: Metadata;
  readonly deadlineMs: number | undefined;
  private readonly method: MethodType;
  private readonly handler: AnyHandler;
  private readonly output: CallOutput;
  private readonly requests: MessageQueue<unknown> | undefined;
  private readonly timer: NodeJS.Timeout | undefined;
  private controller: AbortController | undefined;
  private abortReason: unknown = undefined;
  private requestsClosed = false;
  private over = false;

  constructor(route: Route, request: ttrpcWire.Request, output: CallOutput) {
    this.method = route.method;
    this.handler = route.handler;
    this.output = output;
    this.metadata = metadataFromWire(request.metadata);
    const timeoutMs = Number(request.timeoutNano) / 1e6;
    this.deadlineMs = timeoutMs > 0 ? Date.now() + timeoutMs : undefined;
    if (timeoutMs > 0 && timeoutMs <= maxTimerMs) {
      this.timer = setTimeout(() => this.stop(deadlineExceeded('ttrpc: deadline exceeded')), timeoutMs);
    }
    if (this.method.requestStream) this.requests = new MessageQueue(() => output.hold());
  }

  /** Made when somebody asks: most handlers never do. */
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.abortReason !== undefined) this.controller.abort(this.abortReason);
    }
    return this.controller.signal;
  }

  /** Runs the handler and sends what it answers. Never rejects. */
  async run(request: ttrpcWire.Request, closed: boolean): Promise<void> {
    try {
      const input = this.input(request.payload, closed);
      const answer = this.handler(input, this);
      if (this.method.responseStream) {
        await this.sendAll(answer as AsyncIterable<unknown>);
        if (!this.over) this.output.dataEnd();
      } else {
        const message = await answer;
        if (!this.over) this.output.response(this.encode(message));
      }
    } catch (err) {
      if (!this.over) this.output.failure(err);
    }
    this.finish();
  }

  /** A data frame for this call. */
  receive(data: Uint8Array, hasMessage: boolean, closes: boolean): void {
    if (this.requests === undefined || this.requestsClosed) {
      this.stop(invalidArgument('ttrpc: data on a stream that is closed for them'));
      return;
    }
    try {
      if (hasMessage) this.requests.push(this.method.requestType.decode(data));
    } catch (err) {
      this.stop(err);
      return;
    }
    if (closes) this.closeRequests();
  }

  /** Ends the call with an error now; the handler is told, and what it still answers is dropped. */
  stop(err: unknown): void {
    if (this.over) return;
    this.output.failure(err);
    this.abort(err);
  }

  /** Ends the call without an answer: there is nobody to read it. */
  abort(reason: unknown): void {
    if (this.over) return;
    this.requests?.fail(reason);
    this.finish();
    this.abortReason = reason;
    this.controller?.abort(reason);
  }

  private input(payload: Uint8Array, closed: boolean): unknown {
    if (this.requests === undefined) return this.method.requestType.decode(payload);
    // A payload on the request of a client stream is its first message.
    if (payload.byteLength > 0) this.requests.push(this.method.requestType.decode(payload));
    if (closed) this.closeRequests();
    return this.requests;
  }

  private async sendAll(messages: AsyncIterable<unknown>): Promise<void> {
    for await (const message of messages) {
      if (this.over) return;
      this.output.data(this.encode(message));
      await this.output.writable();
    }
  }

  private encode(message: unknown): Uint8Array {
    const { responseType } = this.method;
    return responseType.encode(responseType.create(message ?? {}));
  }

  private closeRequests(): void {
    this.requestsClosed = true;
    this.requests?.end();
  }

  private finish(): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.timer);
    this.requests?.discard();
    this.output.finished();
  }
}
