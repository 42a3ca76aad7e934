/**
 * The edge between grpc-js and the handlers: the only file that knows both. Errors become statuses here, calls get their
 * deadline and cancellation, and streams go no faster than the client reads.
 */
import type { EventEmitter } from 'node:events';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  ServerDuplexStream,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { grpcServiceDefinition } from '@gantry/api';
import type { MethodType } from '@gantry/api';
import { codeOf, notImplemented, statusNumbers, toStatus, unavailable } from '@gantry/errors';
import { callOf } from './call.ts';
import type { Call } from './call.ts';
import type { AnyHandler, Binding } from './handlers.ts';

/** containerd's limit for one message in either direction (16 MiB). */
const maxMessageBytes = 16 * 1024 * 1024;

/** Told of every call that ended: for the log. `err` is undefined when it succeeded. */
export type CallObserver = (rpc: string, durationMs: number, err: unknown) => void;

/** The reason in the signals of calls that are over; nobody looks at where it comes from. */
const cancelled = unavailable('the caller is gone');

type UnaryCall = Parameters<handleUnaryCall<unknown, unknown>>[0];
type ServerStream = Parameters<handleServerStreamingCall<unknown, unknown>>[0];
type Duplex = Parameters<handleBidiStreamingCall<unknown, unknown>>[0];
type AnyCall = UnaryCall | ServerStream | Duplex;

/** A gRPC server for these services; not listening yet. */
export function grpcServer(bindings: readonly Binding[], observe: CallObserver): Server {
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc.enable_channelz': 0,
  });
  for (const binding of bindings) server.addService(grpcServiceDefinition(binding.service), adapt(binding, observe));
  return server;
}

/** Listens on a unix socket; the caller has seen to it that nobody else does. */
export function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (err) => {
      if (err === null) resolve();
      else reject(unavailable(`listening on ${path}: ${err.message}`, {}, err));
    });
  });
}

/** Ends gracefully: no new calls; those under way get `graceMs`, then they are cut off. */
export function close(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, graceMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function adapt({ service, handlers }: Binding, observe: CallObserver): UntypedServiceImplementation {
  const implementation: UntypedServiceImplementation = {};
  for (const [key, method] of Object.entries(service.methods)) {
    const rpc = `/${service.typeName}/${method.name}`;
    const handler: AnyHandler =
      handlers[key] ??
      (() => {
        throw notImplemented(`method ${method.name} of ${service.typeName}`);
      });
    implementation[key] = method.responseStream
      ? streaming(method, handler, rpc, observe)
      : unary(method, handler, rpc, observe);
  }
  return implementation;
}

/** One answer; the request may be a stream. */
function unary(
  method: MethodType,
  handler: AnyHandler,
  rpc: string,
  observe: CallObserver,
): handleUnaryCall<unknown, unknown> {
  return async (call, callback) => {
    const started = performance.now();
    try {
      const request = method.requestStream ? messages(call as unknown as Duplex) : call.request;
      const answer = await handler(request, contextOf(call));
      observe(rpc, performance.now() - started, undefined);
      callback(null, method.responseType.create(answer as object));
    } catch (err) {
      observe(rpc, performance.now() - started, err);
      callback(serviceError(err));
    }
  };
}

/** A stream of answers, written one by one as the client takes them. */
function streaming(
  method: MethodType,
  handler: AnyHandler,
  rpc: string,
  observe: CallObserver,
): (call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>) => Promise<void> {
  return async (call) => {
    const started = performance.now();
    try {
      const request = method.requestStream ? messages(call as Duplex) : (call as ServerStream).request;
      const answers = handler(request, contextOf(call)) as AsyncIterable<object>;
      for await (const answer of answers) {
        if (call.cancelled) break;
        if (!call.write(method.responseType.create(answer))) await drained(call);
      }
      observe(rpc, performance.now() - started, undefined);
      call.end();
    } catch (err) {
      observe(rpc, performance.now() - started, call.cancelled ? undefined : err);
      call.emit('error', serviceError(err));
    }
  };
}

/** The client's messages. Leaving them early must not destroy the call: its answer is still to be sent. */
function messages(call: Duplex): AsyncIterable<unknown> {
  return call.iterator({ destroyOnReturn: false });
}

/** Resolves when the stream takes more, or is over: what is written then goes nowhere. */
function drained(call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done);
      call.off('close', done);
      call.off('cancelled', done);
      resolve();
    };
    call.on('drain', done);
    call.on('close', done);
    call.on('cancelled', done);
  });
}

function contextOf(call: AnyCall): Call {
  const signal = cancellation(call);
  const deadline = call.getDeadline();
  const deadlineMs = deadline instanceof Date ? deadline.getTime() : deadline;
  const header = (name: string): string | undefined => firstValue(call.metadata, name);
  return callOf(header, signal, Number.isFinite(deadlineMs) ? deadlineMs : undefined);
}

/** The signal of a call, made when somebody wants it: most handlers do not, and every call that ends is cancelled. */
function cancellation(call: AnyCall): () => AbortSignal {
  let controller: AbortController | undefined;
  (call as EventEmitter).on('cancelled', () => controller?.abort(cancelled));
  return () => {
    controller ??= new AbortController();
    if (call.cancelled) controller.abort(cancelled);
    return controller.signal;
  };
}

function firstValue(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  // Several values of one header arrive joined by a comma; containerd takes the first.
  return value === undefined ? undefined : (value.toString().split(',')[0] ?? '').trim();
}

/** The form in which grpc-js takes a status. The message is the sentence; the code was chosen where it was thrown. */
function serviceError(err: unknown): { code: number; details: string; message: string; name: string } {
  const status = toStatus(err);
  const code = codeOf(err) === 'unknown' ? statusNumbers.unknown : status.code;
  return { name: 'Error', code, details: status.message, message: status.message };
}
