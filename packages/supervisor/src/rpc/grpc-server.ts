/**
 * The edge between grpc-js and the handlers: the only file that knows both. Errors become statuses here, calls get their
 * deadline and cancellation, and streams go no faster than the client reads.
 */
import { setMaxListeners } from 'node:events';
import type { EventEmitter } from 'node:events';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  MethodDefinition,
  ServerDuplexStream,
  ServiceDefinition,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { grpcServiceDefinition } from '@gantry/api';
import type { MethodType, ServiceType } from '@gantry/api';
import { codeOf, notImplemented, statusNumbers, toStatus, unavailable } from '@gantry/errors';
import { callOf } from './call.ts';
import type { Call } from './call.ts';
import { isEndless } from './endless.ts';
import type { AnyHandler, Binding } from './handlers.ts';
import { reachHttp2 } from './http2-innards.ts';
import { LentMessage } from './lent-message.ts';
import type { PartedMethod } from './parted-call.ts';
import { partedFields } from './parted-message.ts';
import { statusText } from './status-text.ts';

/** containerd's limit for one message in either direction (16 MiB). */
const maxMessageBytes = 16 * 1024 * 1024;

/** Told of every call that ended: for the log. `err` is undefined when it succeeded. */
export type CallObserver = (rpc: string, durationMs: number, err: unknown) => void;

/** The reason in the signals of calls that are over; nobody looks at where it comes from. */
const cancelled = unavailable('the caller is gone');

/** What endless calls fail with when the server ends; clients connect again then. */
const ending = unavailable('the server is going away');

type UnaryCall = Parameters<handleUnaryCall<unknown, unknown>>[0];
type ServerStream = Parameters<handleServerStreamingCall<unknown, unknown>>[0];
type Duplex = Parameters<handleBidiStreamingCall<unknown, unknown>>[0];
type AnyCall = UnaryCall | ServerStream | Duplex;

/** A gRPC server that can tell its endless calls that it ends. */
export class GrpcServer extends Server {
  readonly #closing = new AbortController();

  /** Aborted when the server begins to end. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Ends gracefully: no new calls; endless ones are over, others get `graceMs`, then they are cut off. */
  close(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.forceShutdown();
        resolve();
      }, graceMs);
      this.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#closing.abort(ending);
    });
  }
}

/** What the adapters of one server's methods share. */
interface Edge {
  readonly observe: CallObserver;
  readonly closing: AbortSignal;
}

/** A gRPC server for these services; not listening yet. */
export function grpcServer(bindings: readonly Binding[], observe: CallObserver): GrpcServer {
  const server = new GrpcServer({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc.enable_channelz': 0,
  });
  setMaxListeners(0, server.closing); // one for each endless call
  const edge = { observe, closing: server.closing };
  reachHttp2(server, partedMethods(bindings, observe));
  for (const binding of bindings) server.addService(definitionOf(binding.service), adapt(binding, edge));
  return server;
}

/** The methods whose requests are handed on as they arrive, by the path of their calls. */
function partedMethods(bindings: readonly Binding[], observe: CallObserver): Map<string, PartedMethod> {
  const methods = new Map<string, PartedMethod>();
  for (const { service, handlers } of bindings) {
    for (const [key, method] of Object.entries(service.methods)) {
      const rpc = `/${service.typeName}/${method.name}`;
      const [handler, field] = [handlers[key], partedFields.get(rpc)];
      if (handler === undefined || field === undefined) continue;
      const maxBytes = maxMessageBytes;
      methods.set(rpc, { method, handler, field, maxBytes, observe: (ms, err) => observe(rpc, ms, err) });
    }
  }
  return methods;
}

/** The methods as grpc-js wants them; bytes that are lent go by as they are. */
function definitionOf(service: ServiceType): ServiceDefinition {
  const definition: Record<string, MethodDefinition<unknown, unknown>> = {};
  for (const [key, method] of Object.entries(grpcServiceDefinition(service))) {
    const { responseSerialize } = method;
    definition[key] = {
      ...method,
      requestSerialize: (value) => method.requestSerialize(value as never),
      responseSerialize: (value) =>
        value instanceof LentMessage ? value.asBuffer() : responseSerialize(value as never),
    };
  }
  return definition;
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

function adapt({ service, handlers }: Binding, { observe, closing }: Edge): UntypedServiceImplementation {
  const implementation: UntypedServiceImplementation = {};
  for (const [key, method] of Object.entries(service.methods)) {
    const rpc = `/${service.typeName}/${method.name}`;
    const handler: AnyHandler =
      handlers[key] ??
      (() => {
        throw notImplemented(`method ${method.name} of ${service.typeName}`);
      });
    const edge: MethodEdge = { rpc, observe, closing: isEndless(rpc) ? closing : undefined };
    implementation[key] = method.responseStream ? streaming(method, handler, edge) : unary(method, handler, edge);
  }
  return implementation;
}

interface MethodEdge {
  readonly rpc: string;
  readonly observe: CallObserver;
  /** Of an endless method: the end of the server. */
  readonly closing: AbortSignal | undefined;
}

/** One answer; the request may be a stream. */
function unary(
  method: MethodType,
  handler: AnyHandler,
  { rpc, observe, closing }: MethodEdge,
): handleUnaryCall<unknown, unknown> {
  return async (call, callback) => {
    const started = performance.now();
    try {
      const request = method.requestStream ? messages(call as unknown as Duplex) : call.request;
      const answer = await handler(request, contextOf(call, closing));
      observe(rpc, performance.now() - started, undefined);
      callback(null, method.responseType.create(answer as object));
    } catch (err) {
      observe(rpc, performance.now() - started, err);
      callback(serviceError(closing?.aborted === true ? ending : err));
    }
  };
}

/** A stream of answers, written one by one as the client takes them. */
function streaming(
  method: MethodType,
  handler: AnyHandler,
  { rpc, observe, closing }: MethodEdge,
): (call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>) => Promise<void> {
  return async (call) => {
    const started = performance.now();
    try {
      const request = method.requestStream ? messages(call as Duplex) : (call as ServerStream).request;
      const answers = handler(request, contextOf(call, closing)) as AsyncIterable<object>;
      for await (const answer of answers) {
        if (answer instanceof LentMessage) {
          if (await sendLent(call, answer)) continue;
          break;
        }
        if (call.cancelled) break;
        if (!call.write(method.responseType.create(answer))) await drained(call);
      }
      closing?.throwIfAborted();
      observe(rpc, performance.now() - started, undefined);
      call.end();
    } catch (err) {
      observe(rpc, performance.now() - started, call.cancelled ? undefined : err);
      call.emit('error', serviceError(closing?.aborted === true ? ending : err));
    }
  };
}

/** Waits until the bytes are taken over. False: the client is gone, and so are they. */
async function sendLent(
  call: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>,
  message: LentMessage,
): Promise<boolean> {
  if (call.cancelled) {
    message.drop();
    return false;
  }
  const drop = (): void => message.drop();
  call.on('close', drop);
  call.on('cancelled', drop);
  try {
    call.write(message);
    await message.sent;
  } finally {
    call.off('close', drop);
    call.off('cancelled', drop);
  }
  return !call.cancelled;
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

function contextOf(call: AnyCall, closing: AbortSignal | undefined): Call {
  const signal = cancellation(call, closing);
  const deadline = call.getDeadline();
  const deadlineMs = deadline instanceof Date ? deadline.getTime() : deadline;
  const header = (name: string): string | undefined => firstValue(call.metadata, name);
  return callOf(header, signal, Number.isFinite(deadlineMs) ? deadlineMs : undefined);
}

/** The signal of a call, made when somebody wants it: most handlers do not, and every call that ends is cancelled. */
function cancellation(call: AnyCall, closing: AbortSignal | undefined): () => AbortSignal {
  let controller: AbortController | undefined;
  const onClosing = (): void => controller?.abort(ending);
  (call as EventEmitter).on('cancelled', () => {
    closing?.removeEventListener('abort', onClosing);
    controller?.abort(cancelled);
  });
  return () => {
    if (controller === undefined) {
      controller = new AbortController();
      if (!call.cancelled) closing?.addEventListener('abort', onClosing, { once: true });
    }
    if (call.cancelled) controller.abort(cancelled);
    if (closing?.aborted === true) controller.abort(ending);
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
  const text = statusText(status.message);
  return { name: 'Error', code, details: text, message: text };
}
