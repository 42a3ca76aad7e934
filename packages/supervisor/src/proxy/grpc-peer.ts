/**
 * Calls to a plugin in another process: gRPC on a unix socket, with the namespace, a deadline, and errors as the field's classes.
 * The connection is made at the first call and again after it broke.
 *
 * grpc-js's client is loaded when there is such a plugin, not with gantryd.
 */
import { createRequire } from 'node:module';
import { leaseHeader, namespaceHeader } from '@gantry/api';
import type { MessageType, MethodType, PartialMessage, ServiceType } from '@gantry/api';
import { cancelled, fromStatus, unavailable } from '@gantry/errors';
import type * as Grpc from '@grpc/grpc-js';

/** containerd's limit. */
const messageBytes = 16 * 1024 * 1024;

const channelOptions = {
  'grpc.max_receive_message_length': messageBytes,
  'grpc.max_send_message_length': messageBytes,
  'grpc.enable_channelz': 0,
  'grpc.enable_retries': 0,
  // Node's HTTP/2 refuses a raw socket path as :authority.
  'grpc.default_authority': 'localhost',
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 1000,
};

export interface PeerOptions {
  /** Of its unix socket. */
  readonly address: string;
  /** What errors call it. */
  readonly title: string;
  /** For calls that do not say how long they may take. */
  readonly timeoutMs: number;
}

export interface PeerCall {
  /** Passed on, for what the other process makes by our API. */
  readonly lease?: string | undefined;
  /** Ends the call, there too. */
  readonly signal?: AbortSignal | undefined;
  /** Infinity: as long as it takes. */
  readonly timeoutMs?: number;
}

export interface StreamCall extends PeerCall {
  /** Between two answers. */
  readonly idleMs?: number;
}

/** A call with requests and answers, one answer a request. Dispose it: that ends the call. */
export interface Exchanges<Req, Res> extends Disposable {
  exchange(request: PartialMessage<Req>): Promise<Res>;
}

/** Owned by who made it; `close` ends every call under way. */
export class GrpcPeer {
  readonly #options: PeerOptions;
  readonly #grpc: typeof Grpc;
  #channel: Grpc.Client | undefined;

  constructor(options: PeerOptions) {
    this.#options = options;
    this.#grpc = loadGrpc();
  }

  /** One request, one answer. Unavailable when the peer is not there, deadline exceeded when it does not answer, cancelled. */
  async call<Req, Res>(
    namespace: string,
    service: ServiceType,
    method: MethodType<Req, Res>,
    request: PartialMessage<Req>,
    { lease, signal, timeoutMs }: PeerCall = {},
  ): Promise<Res> {
    if (signal?.aborted === true) throw cancelled(this.#options.title);
    let stop: (() => void) | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const call = this.#client().makeUnaryRequest(
          pathOf(service, method),
          serializer(method.requestType),
          deserializer(method.responseType),
          method.requestType.create(request),
          this.#metadata(namespace, lease),
          { deadline: this.#deadline(timeoutMs) },
          (err, answer) => {
            if (err !== null) reject(this.#failure(err));
            else if (answer === undefined) reject(unavailable(`${this.#options.title}: no answer`));
            else resolve(answer);
          },
        );
        stop = () => call.cancel();
        signal?.addEventListener('abort', stop, { once: true });
      });
    } finally {
      if (stop !== undefined) signal?.removeEventListener('abort', stop);
    }
  }

  /** One request, any number of answers. Unavailable when the peer says nothing for `idleMs`. */
  async *stream<Req, Res>(
    namespace: string,
    service: ServiceType,
    method: MethodType<Req, Res>,
    request: PartialMessage<Req>,
    { lease, timeoutMs, idleMs }: StreamCall = {},
  ): AsyncGenerator<Res> {
    const answers = this.#client().makeServerStreamRequest(
      pathOf(service, method),
      serializer(method.requestType),
      deserializer(method.responseType),
      method.requestType.create(request),
      this.#metadata(namespace, lease),
      { deadline: this.#deadline(timeoutMs) },
    );
    let silent = false;
    const timer =
      idleMs === undefined
        ? undefined
        : setTimeout(() => {
            silent = true;
            answers.cancel();
          }, idleMs);
    try {
      for await (const answer of answers) {
        timer?.refresh();
        yield answer as Res;
        timer?.refresh(); // what the reader takes is not the peer's
      }
    } catch (err) {
      throw silent
        ? unavailable(`${this.#options.title}: no answer for ${(idleMs ?? 0) / 1000} s`)
        : this.#failure(err);
    } finally {
      clearTimeout(timer);
      answers.on('error', () => undefined);
      answers.cancel();
    }
  }

  /** Requests with an answer each, in one call. */
  duplex<Req, Res>(
    namespace: string,
    service: ServiceType,
    method: MethodType<Req, Res, true, true>,
  ): Exchanges<Req, Res> {
    const call = this.#client().makeBidiStreamRequest(
      pathOf(service, method),
      serializer(method.requestType),
      deserializer(method.responseType),
      this.#metadata(namespace),
    );
    call.on('error', () => undefined); // the exchange under way has it
    const answers = call[Symbol.asyncIterator]();
    const { title, timeoutMs } = this.#options;
    return {
      exchange: async (request) => {
        let timer: NodeJS.Timeout | undefined;
        const late = new Promise<never>((_resolve, reject) => {
          timer = setTimeout(() => reject(unavailable(`${title}: no answer for ${timeoutMs / 1000} s`)), timeoutMs);
        });
        try {
          call.write(method.requestType.create(request));
          const answer = await Promise.race([answers.next(), late]);
          if (answer.done === true) throw unavailable(`${title}: the call has ended`);
          return answer.value as Res;
        } catch (err) {
          throw this.#failure(err);
        } finally {
          clearTimeout(timer);
        }
      },
      [Symbol.dispose]: () => call.cancel(),
    };
  }

  close(): void {
    this.#channel?.close();
    this.#channel = undefined;
  }

  #client(): Grpc.Client {
    const { Client, credentials } = this.#grpc;
    this.#channel ??= new Client(`unix:${this.#options.address}`, credentials.createInsecure(), channelOptions);
    return this.#channel;
  }

  #metadata(namespace: string, lease = ''): Grpc.Metadata {
    const metadata = new this.#grpc.Metadata();
    metadata.set(namespaceHeader, namespace);
    if (lease !== '') metadata.set(leaseHeader, lease);
    return metadata;
  }

  #deadline(timeoutMs = this.#options.timeoutMs): number {
    return Date.now() + timeoutMs;
  }

  #failure(err: unknown): unknown {
    if (!(err instanceof Error) || !('code' in err) || typeof err.code !== 'number') return err;
    const details = 'details' in err && typeof err.details === 'string' ? err.details : err.message;
    const [, reason] =
      /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:/s.exec(details) ?? [];
    if (reason !== undefined) return unavailable(`${this.#options.title}: ${reason}`, {}, err);
    return fromStatus({ code: err.code, message: details });
  }
}

function loadGrpc(): typeof Grpc {
  return createRequire(import.meta.url)('@grpc/grpc-js') as typeof Grpc;
}

function pathOf({ typeName }: ServiceType, { name }: { readonly name: string }): string {
  return `/${typeName}/${name}`;
}

function serializer<T>(type: MessageType<T>): (message: T) => Buffer {
  return (message) => {
    const bytes = type.encode(message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer<T>(type: MessageType<T>): (bytes: Buffer) => T {
  return (bytes) => type.decode(bytes);
}
