/** How the message types of `@gantry/api` meet the function signatures of grpc-js. */
import type { MessageType, MethodType, ServiceType } from '@gantry/api';

/** The HTTP/2 path of a method. */
export function callPath<Req, Res>(service: ServiceType, method: MethodType<Req, Res>): string {
  return `/${service.typeName}/${method.name}`;
}

export function serializer<T>(type: MessageType<T>): (message: T) => Buffer {
  return (message) => {
    const bytes = type.encode(message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

export function deserializer<T>(type: MessageType<T>): (bytes: Buffer) => T {
  return (bytes) => type.decode(bytes);
}
