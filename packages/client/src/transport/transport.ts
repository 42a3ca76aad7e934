/**
 * gRPC calls on one unix socket: metadata, deadlines, cancellation and error translation, nothing else.
 *
 * Every failure is a GantryError with the server's own sentence. The channel reconnects by itself, so that a client
 * outlives a restart of the supervisor; a call that was under way then rejects with code `unavailable`.
 */
import { leaseHeader, namespaceHeader } from '@gantry/api';
import type { MessageType, MethodType, PartialMessage, ServiceType } from '@gantry/api';
import { cancelled, fromStatus, GantryError, statusNumbers } from '@gantry/errors';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { CallOptions as GrpcCallOptions, ServiceError } from '@grpc/grpc-js';
import { BidiStream } from './bidi-stream.ts';
import type { CallOptions } from './call-options.ts';
import { callPath, deserializer, serializer } from './serialization.ts';

/** The largest message either side sends; containerd's own limit. */
export const maxMessageBytes = 16 * 1024 * 1024;

const channelOptions = {
  'grpc.max_receive_message_length': maxMessageBytes,
  'grpc.max_send_message_length': maxMessageBytes,
  'grpc.enable_channelz': 0,
  // Retries buffer whole requests, and only the callers know what is safe to repeat.
  'grpc.enable_retries': 0,
  'grpc.use_local_subchannel_pool': 1,
  // Node's HTTP/2 refuses a raw socket path as :authority.
  'grpc.default_authority': 'localhost',
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 1000,
};

/** What a transport needs to know; `timeoutMs` 0 means calls have no deadline. */
export interface TransportOptions {
  readonly socketPath: string;
  readonly namespace: string;
  readonly timeoutMs: number;
}

/** Turns what grpc-js throws into a GantryError; anything else passes through. */
export function fromServiceError(err: unknown): unknown {
  if (err instanceof GantryError || !(err instanceof Error) || !('code' in err) || typeof err.code !== 'number') {
    return err;
  }
  const details = 'details' in err && typeof err.details === 'string' ? err.details : err.message;
  // containerd has no better code for a deadline or a cancellation that it, or its shim, noticed before we did.
  if (err.code === statusNumbers.unknown) {
    if (/context deadline exceeded(?:: unknown)?$/.test(details)) return new GantryError('deadline exceeded', details);
    if (/context canceled(?:: unknown)?$/.test(details)) return new GantryError('cancelled', details);
  }
  return fromStatus({ code: err.code, message: withoutChannelJargon(details) });
}

/** grpc-js tells about its resolver when nobody answers; what matters in it is the system's own error. */
function withoutChannelJargon(details: string): string {
  const [, reason] =
    /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:/s.exec(details) ?? [];
  return reason === undefined ? details : `no supervisor answers: ${reason}`;
}

/** One channel to one supervisor. Owned by the Client that made it; `close` ends every call under way. */
export class Transport {
  readonly namespace: string;
  private readonly channel: Client;
  private readonly timeoutMs: number;

  constructor(options: TransportOptions) {
    this.namespace = options.namespace;
    this.timeoutMs = options.timeoutMs;
    this.channel = new Client(`unix:${options.socketPath}`, credentials.createInsecure(), channelOptions);
  }

  /** One request, one reply. */
  unary<Req, Res>(
    service: ServiceType,
    method: MethodType<Req, Res>,
    request: PartialMessage<Req>,
    options: CallOptions = {},
  ): Promise<Res> {
    const { promise, resolve, reject } = promiseWithResolvers<Res>();
    if (options.signal?.aborted === true) {
      reject(cancelled(`${method.name}: the caller gave up`));
      return promise;
    }
    const call = this.channel.makeUnaryRequest(
      callPath(service, method),
      serializer(method.requestType),
      deserializer(method.responseType),
      method.requestType.create(request),
      this.metadata(options),
      this.grpcOptions(options, this.timeoutMs),
      (err: ServiceError | null, reply?: Res) => {
        if (err !== null) reject(fromServiceError(err));
        else if (reply === undefined) reject(new GantryError('internal', `${method.name}: empty reply`));
        else resolve(reply);
      },
    );
    return withAbort(promise, options.signal, () => call.cancel());
  }

  /**
   * One request, a stream of replies. The call starts now, not at the first `next()`; leaving the loop cancels it.
   * Replies are read only as fast as they are consumed.
   */
  serverStream<Req, Res>(
    service: ServiceType,
    method: MethodType<Req, Res>,
    request: PartialMessage<Req>,
    options: CallOptions = {},
  ): AsyncGenerator<Res, void, void> {
    const call = this.channel.makeServerStreamRequest(
      callPath(service, method),
      serializer(method.requestType),
      deserializer(method.responseType),
      method.requestType.create(request),
      this.metadata(options),
      this.grpcOptions(options, 0),
    );
    // An error before the first `next()` must not be an unhandled event; the iterator reports it again.
    let failure: unknown;
    call.on('error', (err) => (failure ??= err));
    const onAbort = (): void => call.cancel();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    if (options.signal?.aborted === true) call.cancel();
    const source: AsyncIterable<Res> = call;
    return (async function* () {
      try {
        if (failure !== undefined) throw failure;
        yield* source;
        if (failure !== undefined) throw failure;
      } catch (err) {
        throw fromServiceError(failure ?? err);
      } finally {
        options.signal?.removeEventListener('abort', onAbort);
        call.cancel();
      }
    })();
  }

  /** Both directions; owned by the caller, who must `close` it. */
  bidi<Req, Res>(service: ServiceType, method: MethodType<Req, Res>, options: CallOptions = {}): BidiStream<Req, Res> {
    const call = this.channel.makeBidiStreamRequest(
      callPath(service, method),
      serializer(method.requestType),
      deserializer(method.responseType),
      this.metadata(options),
      this.grpcOptions(options, 0),
    );
    return new BidiStream<Req, Res>(call, options.signal, fromServiceError);
  }

  close(): void {
    this.channel.close();
  }

  private metadata(options: CallOptions): Metadata {
    const metadata = new Metadata();
    metadata.set(namespaceHeader, options.namespace ?? this.namespace);
    if (options.lease !== undefined) metadata.set(leaseHeader, options.lease);
    return metadata;
  }

  private grpcOptions(options: CallOptions, defaultTimeoutMs: number): GrpcCallOptions {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    return timeoutMs > 0 ? { deadline: Date.now() + timeoutMs } : {};
  }
}

function promiseWithResolvers<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (reason: unknown) => void;
} {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((onDone, onFailed) => {
    resolve = onDone;
    reject = onFailed;
  });
  return { promise, resolve, reject };
}

async function withAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined, abort: () => void): Promise<T> {
  if (signal === undefined) return promise;
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

export type { MessageType };
