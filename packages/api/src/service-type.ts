/** What the rest of the house knows about a protobuf service: its name and its methods, typed. */
import type { MessageType } from './message-type.ts';

/** One method of a service. The last two parameters are literal in generated types, so that handlers can be typed by them. */
export interface MethodType<
  Request = unknown,
  Response = unknown,
  RequestStream extends boolean = boolean,
  ResponseStream extends boolean = boolean,
> {
  /** As in the .proto file and on the wire: `CloseIO`. */
  readonly name: string;
  readonly requestType: MessageType<Request>;
  readonly responseType: MessageType<Response>;
  /** The client sends a stream of requests. */
  readonly requestStream: RequestStream;
  /** The server answers with a stream of responses. */
  readonly responseStream: ResponseStream;
}

export type MethodTypes = Readonly<Record<string, MethodType>>;

/** A service; the keys of `methods` are the names with a lower-case first letter: `closeIO`. */
export interface ServiceType<Methods extends MethodTypes = MethodTypes> {
  /** The full name: `containerd.services.tasks.v1.Tasks`. */
  readonly typeName: string;
  readonly methods: Methods;
}

/** The keys of a service's methods. */
export type MethodName<S extends ServiceType> = keyof S['methods'] & string;

/** The request message of the method with key `K`. */
export type RequestOf<S extends ServiceType, K extends MethodName<S>> =
  S['methods'][K] extends MethodType<infer Request, infer _Response> ? Request : never;

/** The response message of the method with key `K`. */
export type ResponseOf<S extends ServiceType, K extends MethodName<S>> =
  S['methods'][K] extends MethodType<infer _Request, infer Response> ? Response : never;
