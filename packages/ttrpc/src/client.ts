/** A ttrpc client: one connection, any number of calls at a time. */
import net from 'node:net';
import { ttrpcWire } from '@gantry/api/shim';
import type { MethodName, MethodType, PartialMessage, RequestOf, ResponseOf, ServiceType } from '@gantry/api/shim';
import { cancelled, deadlineExceeded, internal, resourceExhausted, unavailable } from '@gantry/errors';
import { TtrpcStream, UnaryCall } from './client-call.ts';
import type { ClientCall } from './client-call.ts';
import { frameFlags, frameTypes, maxDataBytes } from './frame.ts';
import type { Frame } from './frame.ts';
import { FrameSocket } from './frame-socket.ts';
import { metadataToWire } from './metadata.ts';
import type { Metadata } from './metadata.ts';
import { socketPathOf } from './socket-path.ts';

const maxStreamId = 0xffffffff;
/** setTimeout's limit; a longer timeout is as good as none. */
const maxTimerMs = 0x7fffffff;

export interface CallOptions {
  /** How long the call may take; the server is told. Without it the call waits as long as the connection lives. */
  readonly timeoutMs?: number | undefined;
  readonly metadata?: Metadata | undefined;
  /** Gives up on the call: it rejects with cancelled, and a late answer is dropped. */
  readonly signal?: AbortSignal | undefined;
}

/** A call under way, and what to undo when it is over. */
interface PendingCall {
  readonly call: ClientCall;
  readonly timer: NodeJS.Timeout | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
}

/** What `connect` needs to know. */
export interface ConnectOptions {
  readonly timeoutMs: number;
}

export class TtrpcClient {
  private readonly socket: FrameSocket;
  private readonly calls = new Map<number, PendingCall>();
  private readonly closeListeners: (() => void)[] = [];
  private nextStreamId = 1;
  private over = false;

  /** Owns `socket`, which is connected. */
  constructor(socket: net.Socket) {
    this.socket = new FrameSocket(socket, {
      frame: (frame) => this.receive(frame),
      oversized: (header) =>
        this.settle(header.streamId)?.fail(
          resourceExhausted(`ttrpc: answer of ${header.length} bytes is larger than the maximum of ${maxDataBytes}`),
        ),
      closed: () => this.lost(),
    });
  }

  /**
   * Connects to a unix socket, given by its path or as `unix:///path`. Rejects with unavailable when nobody listens there,
   * and with deadline exceeded.
   */
  static async connect(address: string, options: ConnectOptions): Promise<TtrpcClient> {
    const path = socketPathOf(address);
    return new TtrpcClient(await connectSocket(path, options.timeoutMs));
  }

  /** True from the moment `close` is called or the connection is lost. */
  get closed(): boolean {
    return this.over || this.socket.closed;
  }

  /** Calls `listener` once, when the connection is closed by either side; soon, when it is closed already. */
  onClose(listener: () => void): void {
    if (this.over) queueMicrotask(listener);
    else this.closeListeners.push(listener);
  }

  /**
   * Calls a method with one request and one answer. Rejects with the server's error, or: unavailable when the connection is
   * or gets closed, deadline exceeded, cancelled, resource exhausted when the request is larger than 4 MiB.
   */
  call<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request: PartialMessage<RequestOf<S, K>>,
    options: CallOptions = {},
  ): Promise<ResponseOf<S, K>> {
    const type = methodOf<RequestOf<S, K>, ResponseOf<S, K>>(service, method);
    return new Promise((resolve, reject) => {
      if (type.requestStream || type.responseStream) throw internal(`ttrpc: ${type.name} is a streaming method`);
      const call = new UnaryCall(type, resolve, reject);
      const payload = type.requestType.encode(type.requestType.create(request));
      this.begin(call, service, type, payload, 0, options);
    });
  }

  /** Makes several calls whose requests leave in one write: the server wakes up once. */
  together<T>(calls: () => T): T {
    return this.socket.together(calls);
  }

  /**
   * Opens a streaming call. `request` is the request of a method that takes one only, and must be left out otherwise.
   * Throws as `call` rejects.
   */
  stream<S extends ServiceType, K extends MethodName<S>>(
    service: S,
    method: K,
    request?: PartialMessage<RequestOf<S, K>>,
    options: CallOptions = {},
  ): TtrpcStream<RequestOf<S, K>, ResponseOf<S, K>> {
    const type = methodOf<RequestOf<S, K>, ResponseOf<S, K>>(service, method);
    const streamId = this.nextStreamId;
    const call = new TtrpcStream(type, {
      data: (flags, message) => this.socket.send(frameTypes.data, streamId, flags, message),
      writable: () => this.socket.writable(),
      hold: () => this.socket.hold(),
      cancel: () => this.settle(streamId),
    });
    const message = type.requestStream ? undefined : type.requestType.encode(type.requestType.create(request));
    const flags = type.requestStream ? frameFlags.remoteOpen : frameFlags.remoteClosed;
    this.begin(call, service, type, message ?? new Uint8Array(0), flags, options);
    return call;
  }

  /** Closes the connection; calls under way reject with unavailable. Can be repeated. */
  close(): void {
    this.socket.destroy();
    this.lost();
  }

  /** Sends the request and keeps the call until it is settled. Throws when it could not be sent. */
  private begin(
    call: ClientCall,
    service: ServiceType,
    method: MethodType,
    payload: Uint8Array,
    flags: number,
    options: CallOptions,
  ): void {
    const { timeoutMs, signal } = options;
    if (this.closed) throw unavailable('ttrpc: closed');
    if (signal?.aborted === true) throw cancelled(`ttrpc: ${method.name}: cancelled`);
    if (this.nextStreamId > maxStreamId) throw unavailable('ttrpc: stream ids of the connection are used up');
    const request = ttrpcWire.Request.encode({
      service: service.typeName,
      method: method.name,
      payload,
      timeoutNano: timeoutMs === undefined ? 0n : BigInt(Math.ceil(timeoutMs * 1e6)),
      metadata: options.metadata === undefined ? [] : metadataToWire(options.metadata),
    });
    const streamId = this.nextStreamId;
    this.socket.send(frameTypes.request, streamId, flags, request);
    this.nextStreamId += 2;
    const giveUp = (err: Error) => this.settle(streamId)?.fail(err);
    const onAbort = () => giveUp(cancelled(`ttrpc: ${method.name}: cancelled`));
    const onTimeout = () => giveUp(deadlineExceeded(`ttrpc: ${method.name}: no answer within ${timeoutMs ?? 0} ms`));
    const timed = timeoutMs !== undefined && timeoutMs <= maxTimerMs;
    const timer = timed ? setTimeout(onTimeout, timeoutMs) : undefined;
    signal?.addEventListener('abort', onAbort, { once: true });
    this.calls.set(streamId, { call, timer, signal, onAbort });
  }

  private receive(frame: Frame): void {
    // What belongs to no call is the late answer to one that was given up.
    const pending = this.calls.get(frame.streamId);
    if (pending === undefined || (frame.type !== frameTypes.response && frame.type !== frameTypes.data)) return;
    if (pending.call.receive(frame)) this.settle(frame.streamId);
  }

  /** Takes a call off the connection, with its timer and its listener. */
  private settle(streamId: number): ClientCall | undefined {
    const pending = this.calls.get(streamId);
    this.calls.delete(streamId);
    clearTimeout(pending?.timer);
    pending?.signal?.removeEventListener('abort', pending.onAbort);
    return pending?.call;
  }

  private lost(): void {
    if (this.over) return;
    this.over = true;
    for (const streamId of this.calls.keys()) this.settle(streamId)?.fail(unavailable('ttrpc: closed'));
    for (const listener of this.closeListeners) listener();
  }
}

function methodOf<Request, Response>(service: ServiceType, key: string): MethodType<Request, Response> {
  const method = service.methods[key];
  if (method === undefined) throw internal(`${service.typeName} has no method ${key}`);
  return method as MethodType<Request, Response>;
}

function connectSocket(path: string, timeoutMs: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    const fail = (err: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(err);
    };
    const timer = setTimeout(
      () => fail(deadlineExceeded(`connecting to ${path}: nobody accepted within ${timeoutMs} ms`)),
      timeoutMs,
    );
    const onError = (err: Error) => fail(unavailable(`connecting to ${path}: ${err.message}`, {}, err));
    socket.once('error', onError);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', onError);
      resolve(socket);
    });
  });
}
