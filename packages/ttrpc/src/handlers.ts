/** What a server's methods look like to the code behind them. */
import type { MethodName, MethodType, PartialMessage, ServiceType } from '@gantry/api/shim';
import type { Metadata } from './metadata.ts';

/** What a handler knows about its call besides the request. */
export interface CallContext {
  readonly metadata: Metadata;
  /** Aborted when the caller's time is up, the connection is closed, or the server stops. */
  readonly signal: AbortSignal;
  /** When the caller gives up, in milliseconds since 1970; undefined when it did not say. */
  readonly deadlineMs?: number | undefined;
}

/** A message, now or later. Fields that are left out get their defaults. */
type Answer<Response> = PartialMessage<Response> | Promise<PartialMessage<Response>>;

/**
 * The handler of one method. Throws a GantryError to answer with its status; anything else is answered as `unknown`.
 * Requests that come as a stream may be left before their end.
 */
export type Handler<M extends MethodType> =
  M extends MethodType<infer Request, infer Response, infer RequestStream, infer ResponseStream>
    ? (
        request: RequestStream extends true ? AsyncIterable<Request> : Request,
        context: CallContext,
      ) => ResponseStream extends true ? AsyncIterable<PartialMessage<Response>> : Answer<Response>
    : never;

/** The handlers of a service; a method without one is answered with UNIMPLEMENTED. */
export type Handlers<S extends ServiceType> = { readonly [K in MethodName<S>]?: Handler<S['methods'][K]> };

/** A handler without its types. */
export type AnyHandler = (request: unknown, context: CallContext) => unknown;

/** A method and what answers it. */
export interface Route {
  readonly method: MethodType;
  readonly handler: AnyHandler;
}

/** Service name → method name, as they are on the wire → route. */
export type Routes = ReadonlyMap<string, ReadonlyMap<string, Route>>;
