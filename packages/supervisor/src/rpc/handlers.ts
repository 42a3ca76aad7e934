/** What a gRPC service's methods look like to the code behind them. */
import type { MethodName, MethodType, PartialMessage, ServiceType } from '@gantry/api';
import type { Call } from './call.ts';

type Answer<Response> = PartialMessage<Response> | Promise<PartialMessage<Response>>;

/**
 * The handler of one method. It throws a GantryError to answer with its status; anything else is answered as unknown.
 * Fields left out of an answer get their defaults. A stream of answers is read no faster than the client takes it.
 */
export type Handler<M extends MethodType> =
  M extends MethodType<infer Request, infer Response, infer RequestStream, infer ResponseStream>
    ? (
        request: RequestStream extends true ? AsyncIterable<Request> : Request,
        call: Call,
      ) => ResponseStream extends true ? AsyncIterable<PartialMessage<Response>> : Answer<Response>
    : never;

/** The handlers of a service; a method without one is answered with UNIMPLEMENTED. */
export type Handlers<S extends ServiceType> = { readonly [K in MethodName<S>]?: Handler<S['methods'][K]> };

/** A service with what answers it, as the composition root lists them. */
export interface Binding {
  readonly service: ServiceType;
  readonly handlers: Readonly<Record<string, AnyHandler>>;
}

/** A handler without its types. */
export type AnyHandler = (request: unknown, call: Call) => unknown;

/** Ties handlers to their service; the types are checked here, once. */
export function bind<S extends ServiceType>(service: S, handlers: Handlers<S>): Binding {
  return { service, handlers: handlers as unknown as Readonly<Record<string, AnyHandler>> };
}
