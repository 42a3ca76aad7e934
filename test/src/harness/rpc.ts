/** Raw gRPC calls on a daemon's socket, for what no client's command line can say. */
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { grpcServiceDefinition } from '@gantry/api';
import type { ServiceType } from '@gantry/api';

export interface RpcFailure {
  /** The gRPC status number. */
  readonly code: number;
  readonly message: string;
}

export interface RpcOptions {
  /** The namespace header; undefined sends none. */
  readonly namespace?: string | undefined;
  /** The lease header. */
  readonly lease?: string;
  readonly timeoutMs?: number;
  /** Cancels the call, as a client does that goes away. */
  readonly signal?: AbortSignal;
}

/** A connection to one socket. Close it. */
export class Rpc {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      'grpc.max_send_message_length': -1,
      'grpc.max_receive_message_length': -1,
    });
  }

  close(): void {
    this.#client.close();
  }

  /** One unary call; resolves to the response, rejects with grpc-js's ServiceError. */
  call(service: ServiceType, method: string, request: object, options: RpcOptions = {}): Promise<unknown> {
    const definition = definitionOf(service, method);
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        definition.path,
        (value: object) => Buffer.from(definition.requestSerialize(value)),
        (bytes: Buffer) => definition.responseDeserialize(bytes),
        request,
        metadataOf(options),
        { deadline: Date.now() + (options.timeoutMs ?? 20_000) },
        (err: ServiceError | null, response: unknown) => (err === null ? resolve(response) : reject(err)),
      );
      options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    });
  }

  /** One call whose answer is a stream; resolves to its messages at its end. `onMessage` gets each as it comes. */
  collect(
    service: ServiceType,
    method: string,
    request: object,
    options: RpcOptions & { readonly onMessage?: (message: unknown) => void } = {},
  ): Promise<unknown[]> {
    const { path, requestSerialize, responseDeserialize } = definitionOf(service, method);
    const call = this.#client.makeServerStreamRequest(
      path,
      (value: object) => Buffer.from(requestSerialize(value)),
      (bytes: Buffer) => responseDeserialize(bytes),
      request,
      metadataOf(options),
      { deadline: Date.now() + (options.timeoutMs ?? 20_000) },
    );
    options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    return gather(call, options.onMessage);
  }

  /** One call with streams both ways: sends all requests, ends its side, resolves to the answers. */
  converse(
    service: ServiceType,
    method: string,
    requests: readonly object[],
    options: RpcOptions = {},
  ): Promise<unknown[]> {
    const { path, requestSerialize, responseDeserialize } = definitionOf(service, method);
    const call = this.#client.makeBidiStreamRequest(
      path,
      (value: object) => Buffer.from(requestSerialize(value)),
      (bytes: Buffer) => responseDeserialize(bytes),
      metadataOf(options),
      { deadline: Date.now() + (options.timeoutMs ?? 20_000) },
    );
    for (const request of requests) call.write(request);
    call.end();
    return gather(call);
  }

  /** A unary call of which the request is any bytes; resolves to the status number, 0 when it succeeded. */
  raw(service: ServiceType, method: string, bytes: Buffer, options: RpcOptions = {}): Promise<number> {
    const same = (value: Buffer): Buffer => value;
    return new Promise((resolve) => {
      this.#client.makeUnaryRequest(
        definitionOf(service, method).path,
        same,
        same,
        bytes,
        metadataOf(options),
        { deadline: Date.now() + (options.timeoutMs ?? 20_000) },
        (err) => resolve(err?.code ?? 0),
      );
    });
  }

  /** The failure a call must end in; throws when it succeeds. */
  async failure(service: ServiceType, method: string, request: object, options: RpcOptions = {}): Promise<RpcFailure> {
    try {
      await this.call(service, method, request, options);
    } catch (err) {
      const { code, details } = err as ServiceError;
      return { code, message: details };
    }
    throw new Error(`${service.typeName}/${method} succeeded`);
  }
}

function definitionOf(
  service: ServiceType,
  method: string,
): NonNullable<ReturnType<typeof grpcServiceDefinition>[string]> {
  const definition = grpcServiceDefinition(service)[method];
  if (definition === undefined) throw new Error(`no method ${method} in ${service.typeName}`);
  return definition;
}

function metadataOf({ namespace, lease }: RpcOptions): Metadata {
  const metadata = new Metadata();
  if (namespace !== undefined) metadata.set('containerd-namespace', namespace);
  if (lease !== undefined) metadata.set('containerd-lease', lease);
  return metadata;
}

function gather(call: NodeJS.EventEmitter, onMessage?: (message: unknown) => void): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const messages: unknown[] = [];
    call.on('data', (message: unknown) => {
      messages.push(message);
      onMessage?.(message);
    });
    call.on('error', reject);
    call.on('end', () => resolve(messages));
  });
}
