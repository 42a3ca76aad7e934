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
    const definition = grpcServiceDefinition(service)[method];
    if (definition === undefined) throw new Error(`no method ${method} in ${service.typeName}`);
    const metadata = new Metadata();
    if (options.namespace !== undefined) metadata.set('containerd-namespace', options.namespace);
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        definition.path,
        (value: object) => Buffer.from(definition.requestSerialize(value)),
        (bytes: Buffer) => definition.responseDeserialize(bytes),
        request,
        metadata,
        { deadline: Date.now() + (options.timeoutMs ?? 20_000) },
        (err: ServiceError | null, response: unknown) => (err === null ? resolve(response) : reject(err)),
      );
      options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
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
