/**
 * Unary gRPC calls on a daemon's socket with as little as possible between the clock and the wire: requests straight
 * on Node's HTTP/2, which costs this process a third of the processor time of grpc-js. Half a machine is all the client
 * and the daemon have, and what the client uses counts on both sides of a ratio and pulls it towards 1.
 */
import { namespaceHeader } from '@gantry/api';
import type { MethodName, MethodType, PartialMessage, RequestOf, ResponseOf, ServiceType } from '@gantry/api';
import { connect as connectHttp2 } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { connect as connectSocket } from 'node:net';

/** A call is given up after this time: nothing here takes longer unless it hangs. */
const callTimeoutMs = 60_000;

/** Flow control never holds back even the largest answer (1,000 records in one message). */
const windowBytes = 64 * 1024 * 1024;

/** A call that ended with a gRPC status other than OK. */
export class CallError extends Error {
  /** The gRPC status number (5: not found, 14: unavailable). */
  readonly status: number;

  constructor(method: string, status: number, message: string) {
    super(`${method}: ${message} (status ${status})`);
    this.status = status;
  }
}

/** Whether a call failed with this gRPC status. */
export function hasStatus(err: unknown, status: number): boolean {
  return err instanceof CallError && err.status === status;
}

/** One HTTP/2 connection to one socket, in one namespace. Owned by whoever made it; close it. */
export class Connection {
  readonly #session: ClientHttp2Session;
  readonly #namespace: string;

  constructor(address: string, namespace: string) {
    this.#namespace = namespace;
    this.#session = connectHttp2('http://localhost', {
      createConnection: () => connectSocket(address),
      settings: { initialWindowSize: windowBytes, enablePush: false },
    });
    this.#session.on('error', () => undefined); // every call under way fails with it
    this.#session.once('connect', () => this.#session.setLocalWindowSize(windowBytes));
  }

  /** One unary call; rejects with a CallError, or with what broke the connection. `timeoutMs` 0: no deadline. */
  async call<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request: PartialMessage<RequestOf<S, K>>,
    timeoutMs = callTimeoutMs,
  ): Promise<ResponseOf<S, K>> {
    const bytes = await this.callRaw(service, method, request, timeoutMs);
    return service.methods[method]?.responseType.decode(bytes) as ResponseOf<S, K>;
  }

  /** The same without reading the response, for responses so large that reading them would be what is measured. */
  callRaw<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request: PartialMessage<RequestOf<S, K>>,
    timeoutMs = callTimeoutMs,
  ): Promise<Buffer> {
    const type = methodOf(service, method);
    return answerOf(this.#request(service, type, request, timeoutMs), type.name, timeoutMs);
  }

  /** A call whose answers are counted and not looked at. It goes on until the connection is closed. */
  stream<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request: PartialMessage<RequestOf<S, K>>,
  ): Stream {
    return new Stream(this.#request(service, methodOf(service, method), request, 0));
  }

  #request(service: ServiceType, type: MethodType, request: object, timeoutMs: number): ClientHttp2Stream {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': `/${service.typeName}/${type.name}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      [namespaceHeader]: this.#namespace,
      ...(timeoutMs === 0 ? {} : { 'grpc-timeout': `${timeoutMs}m` }),
    });
    stream.end(framed(type.requestType.encode(type.requestType.create(request))));
    return stream;
  }

  /** Ends every call under way. */
  close(): void {
    this.#session.destroy();
  }
}

/** The answers of a streaming call, counted as they come. */
export class Stream {
  /** How many whole messages have come. */
  messages = 0;
  #ended: Error | undefined;
  #wake: (() => void) | undefined;
  /** Bytes of the message under way that are still to come; of its head, when there are fewer than five of that. */
  #left = 0;
  #head = Buffer.alloc(0);

  constructor(stream: ClientHttp2Stream) {
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('trailers', (headers) => this.#end(new Error(`the stream ended: ${String(headers['grpc-message'])}`)));
    stream.on('error', (err) => this.#end(err));
    stream.on('close', () => this.#end(new Error('the stream was closed')));
  }

  /** Resolves when so many have come in all; rejects when the stream ends, or too little has come in time. */
  async reaches(count: number, timeoutMs: number): Promise<void> {
    const timer = setTimeout(
      () => this.#end(new Error(`${count - this.messages} of ${count} messages did not come`)),
      timeoutMs,
    );
    try {
      while (this.messages < count) {
        if (this.#ended !== undefined) throw this.#ended;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      if (this.messages > count) throw new Error(`${this.messages} messages came instead of ${count}`);
    } finally {
      clearTimeout(timer);
    }
  }

  #take(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#left === 0) {
        const head = Buffer.concat([this.#head, chunk.subarray(at, at + 5 - this.#head.length)]);
        at += head.length - this.#head.length;
        this.#head = head;
        if (head.length < 5) return;
        this.#left = head.readUInt32BE(1);
        this.#head = Buffer.alloc(0);
        if (this.#left > 0) continue;
      } else {
        const taken = Math.min(this.#left, chunk.length - at);
        at += taken;
        this.#left -= taken;
        if (this.#left > 0) return this.#wake?.();
      }
      this.messages += 1;
    }
    this.#wake?.();
  }

  #end(err: Error): void {
    this.#ended ??= err;
    this.#wake?.();
  }
}

function methodOf(service: ServiceType, method: string): MethodType {
  const type = service.methods[method];
  if (type === undefined) throw new Error(`no method ${method} in ${service.typeName}`);
  return type;
}

/** One uncompressed message with the 5 bytes that gRPC puts before it. */
function framed(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(5 + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

function answerOf(stream: ClientHttp2Stream, method: string, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let status: number | undefined;
    let message = '';
    const read = (headers: IncomingHttpHeaders): void => {
      if (headers['grpc-status'] === undefined) return;
      status = Number(headers['grpc-status']);
      message = decodeURIComponent(String(headers['grpc-message'] ?? ''));
    };
    const timer =
      timeoutMs === 0
        ? undefined
        : setTimeout(() => stream.destroy(new CallError(method, 4, `no answer within ${timeoutMs} ms`)), timeoutMs);
    stream.on('response', read); // an error without a message comes in the first headers
    stream.on('trailers', read);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('close', () => {
      clearTimeout(timer);
      const body = chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks);
      if (status !== 0)
        reject(new CallError(method, status ?? 14, message || 'the connection ended without an answer'));
      else if (body.length < 5 || body[0] !== 0) reject(new CallError(method, 13, 'no uncompressed message'));
      else resolve(body.subarray(5));
    });
  });
}
