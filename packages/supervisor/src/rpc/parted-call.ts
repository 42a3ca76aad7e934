/**
 * A gRPC call served on Node's HTTP/2 stream itself, for requests that are streams of large messages: their bytes reach
 * the handler as they arrive (see parted-messages.ts), which grpc-js, whose unit is the message, does not offer.
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { MessageType, MethodType } from '@gantry/api';
import { cancelled, deadlineExceeded, toStatus } from '@gantry/errors';
import { callOf } from './call.ts';
import type { AnyHandler } from './handlers.ts';
import { partedMessages } from './parted-messages.ts';
import { statusText } from './status-text.ts';
import { StreamBytes } from './stream-bytes.ts';

export interface PartedMethod {
  readonly method: MethodType;
  readonly handler: AnyHandler;
  /** The field of bytes of its requests. */
  readonly field: number;
  readonly maxBytes: number;
  /** Told when the call has ended. */
  readonly observe: (durationMs: number, err: unknown) => void;
}

const answerHeaders = { ':status': 200, 'content-type': 'application/grpc+proto' } as const;
const deadlineUnitsMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Whether the call is one that `servePartedCall` takes: bytes that are not packed, a deadline that can be read. */
export function isPlainCall(headers: IncomingHttpHeaders): boolean {
  const encoding = headers['grpc-encoding'] ?? 'identity';
  const isGrpc = headers['content-type']?.startsWith('application/grpc') === true;
  return isGrpc && encoding === 'identity' && !Number.isNaN(timeoutMs(headers));
}

/** Serves the call to its end. Never rejects. */
export async function servePartedCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { method, handler, field, maxBytes, observe }: PartedMethod,
): Promise<void> {
  const started = performance.now();
  const gone = new AbortController();
  const bytes = new StreamBytes(stream);
  const end = (reason: Error): void => {
    gone.abort(reason);
    bytes.break(reason);
  };
  stream.on('error', () => undefined); // 'close' follows
  stream.once('close', () => end(cancelled('the caller is gone')));
  const patience = timeoutMs(headers);
  const timer = Number.isFinite(patience) ? setTimeout(() => end(deadlineExceeded('the call')), patience) : undefined;
  try {
    const call = callOf(
      (name) => headerOf(headers, name),
      () => gone.signal,
      timer && Date.now() + patience,
    );
    const requests = partedMessages(bytes, { type: method.requestType as MessageType<object>, field, maxBytes });
    for await (const answer of handler(requests, call) as AsyncIterable<object>) {
      gone.signal.throwIfAborted();
      await send(stream, method.responseType.encode(method.responseType.create(answer)));
    }
    finish(stream, 0, '');
    observe(performance.now() - started, undefined);
  } catch (err) {
    const status = toStatus(err);
    const isHeard = !isOver(stream);
    finish(stream, status.code, status.message);
    observe(performance.now() - started, isHeard ? err : undefined);
  } finally {
    clearTimeout(timer);
    bytes.drop();
  }
}

/** Sends one message; resolves when the stream takes more, or is over. */
async function send(stream: ServerHttp2Stream, message: Uint8Array): Promise<void> {
  if (!stream.headersSent) stream.respond(answerHeaders, { waitForTrailers: true });
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  if (stream.write(Buffer.concat([prefix, message])) || stream.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
}

/** Answers with the status, where there is anybody to hear it: what Node does with a stream that was reset is throw. */
function finish(stream: ServerHttp2Stream, code: number, message: string): void {
  if (isOver(stream)) return;
  const trailers = { 'grpc-status': code, 'grpc-message': encodeURI(statusText(message)) };
  if (!stream.headersSent) {
    stream.respond({ ...answerHeaders, ...trailers }, { endStream: true });
    return;
  }
  stream.once('wantTrailers', () => {
    if (!isOver(stream)) stream.sendTrailers(trailers);
  });
  stream.end();
}

/** A stream that was reset is closed a while before it is destroyed. */
function isOver(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed;
}

function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  const text = Array.isArray(value) ? value[0] : value;
  // Several values of one header arrive joined by a comma; containerd takes the first.
  return text?.split(',')[0]?.trim();
}

/** The header `grpc-timeout` (at most eight digits and a unit); Infinity without it, NaN when it is malformed. */
function timeoutMs(headers: IncomingHttpHeaders): number {
  const text = headerOf(headers, 'grpc-timeout');
  if (text === undefined) return Infinity;
  const [, digits, unit = ''] = /^(\d{1,8})\s*([HMSmun])$/.exec(text) ?? [];
  return Number(digits) * (deadlineUnitsMs[unit] ?? NaN);
}
