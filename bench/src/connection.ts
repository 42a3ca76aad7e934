/** gRPC calls on a daemon's socket with as little between the clock and the wire as grpc-js allows. */
import { grpcServiceDefinition, namespaceHeader } from '@gantry/api';
import type {
  GrpcServiceDefinition,
  MethodName,
  PartialMessage,
  RequestOf,
  ResponseOf,
  ServiceType,
} from '@gantry/api';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';

/** A call is given up after this time: nothing here takes longer unless it hangs. */
const callTimeoutMs = 60_000;

const definitions = new WeakMap<ServiceType, GrpcServiceDefinition<ServiceType>>();

function definitionOf(service: ServiceType): GrpcServiceDefinition<ServiceType> {
  let definition = definitions.get(service);
  if (definition === undefined) definitions.set(service, (definition = grpcServiceDefinition(service)));
  return definition;
}

/** One HTTP/2 connection to one socket, in one namespace. Owned by whoever made it; close it. */
export class Connection {
  readonly #client: Client;
  readonly #metadata = new Metadata();

  constructor(address: string, namespace: string) {
    this.#metadata.set(namespaceHeader, namespace);
    this.#client = new Client(`unix:${address}`, credentials.createInsecure(), {
      'grpc.max_send_message_length': -1,
      'grpc.max_receive_message_length': -1,
      'grpc.default_authority': 'localhost',
      'grpc.enable_retries': 0,
      'grpc.enable_channelz': 0,
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  /** One unary call; rejects with grpc-js's ServiceError, named after the method. `timeoutMs` 0: no deadline. */
  call<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request: PartialMessage<RequestOf<S, K>>,
    timeoutMs = callTimeoutMs,
  ): Promise<ResponseOf<S, K>> {
    const definition = definitionOf(service)[method];
    return this.#unary<ResponseOf<S, K>>(
      service,
      method,
      request,
      timeoutMs,
      (bytes) => definition?.responseDeserialize(bytes) as ResponseOf<S, K>,
    );
  }

  /** The same without reading the response, for responses so large that reading them would be what is measured. */
  callRaw<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request: PartialMessage<RequestOf<S, K>>,
    timeoutMs = callTimeoutMs,
  ): Promise<Buffer> {
    return this.#unary<Buffer>(service, method, request, timeoutMs, (bytes) => bytes);
  }

  /** Ends every call under way. */
  close(): void {
    this.#client.close();
  }

  #unary<T>(
    service: ServiceType,
    method: string,
    request: object,
    timeoutMs: number,
    deserialize: (bytes: Buffer) => T,
  ): Promise<T> {
    const definition = definitionOf(service)[method];
    const type = service.methods[method]?.requestType;
    if (definition === undefined || type === undefined) throw new Error(`no method ${method} in ${service.typeName}`);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        definition.path,
        definition.requestSerialize,
        deserialize,
        type.create(request),
        this.#metadata,
        timeoutMs === 0 ? {} : { deadline: Date.now() + timeoutMs },
        (err: ServiceError | null, response?: T) => {
          if (err !== null || response === undefined) reject(err ?? new Error(`${method}: empty response`));
          else resolve(response);
        },
      );
    });
  }
}

/** Whether a call failed with this gRPC status (5: not found, 14: unavailable). */
export function hasStatus(err: unknown, status: number): boolean {
  return err instanceof Error && 'code' in err && err.code === status;
}
