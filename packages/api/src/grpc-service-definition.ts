/** A service in the plain-object form that `@grpc/grpc-js` takes, without loading grpc-js. */
import type { MessageType } from './message-type.ts';
import type { MethodName, RequestOf, ResponseOf, ServiceType } from './service-type.ts';

/** What grpc-js calls a MethodDefinition. */
export interface GrpcMethodDefinition<Request, Response> {
  /** The HTTP/2 path: `/containerd.services.version.v1.Version/Version`. */
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => Request;
  readonly responseSerialize: (value: Response) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
  readonly originalName: string;
}

/** For `server.addService` and `makeClientConstructor`; the keys are those of `service.methods`. */
export type GrpcServiceDefinition<S extends ServiceType> = {
  readonly [K in MethodName<S>]: GrpcMethodDefinition<RequestOf<S, K>, ResponseOf<S, K>>;
};

/** The definition of a service. Decoding throws invalid argument; the server answers it as such or as internal. */
export function grpcServiceDefinition<S extends ServiceType>(service: S): GrpcServiceDefinition<S> {
  const definition: Record<string, GrpcMethodDefinition<unknown, unknown>> = {};
  for (const [key, method] of Object.entries(service.methods)) {
    definition[key] = {
      path: `/${service.typeName}/${method.name}`,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      requestSerialize: serializer(method.requestType),
      requestDeserialize: (bytes) => method.requestType.decode(bytes),
      responseSerialize: serializer(method.responseType),
      responseDeserialize: (bytes) => method.responseType.decode(bytes),
      originalName: key,
    };
  }
  return definition as GrpcServiceDefinition<S>;
}

function serializer(type: MessageType<unknown>): (value: unknown) => Buffer {
  return (value) => {
    const bytes = type.encode(value);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}
