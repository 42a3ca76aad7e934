/**
 * One client of a server: the rules of stream ids, and the calls under way.
 *
 *   client                                          server
 *   request  id 1, 3, 5 … (odd, always growing) ─►  a new call
 *   data     id of a call that takes a stream   ─►  its next message; remoteClosed ends them
 *            ◄─ data                                one message of a streamed answer; remoteClosed ends them
 *            ◄─ response                            the answer, or an error at any time; the id is used up
 *   close                                       ─►  every call under way is aborted
 *
 * Whatever breaks the rules is answered by an error on its stream; nothing a client sends ends the process.
 */
import type { Socket } from 'node:net';
import { ttrpcWire } from '@gantry/api/shim';
import { GantryError, invalidArgument, notImplemented, resourceExhausted, toStatus, unavailable } from '@gantry/errors';
import { frameFlags, frameTypes, maxDataBytes } from './frame.ts';
import type { Frame, FrameHeader } from './frame.ts';
import { FrameSocket } from './frame-socket.ts';
import type { Route, Routes } from './handlers.ts';
import { ServerCall } from './server-call.ts';

/** Calls under way on one connection. */
const maxCalls = 4096;

/** What is sent of an error's sentence, which may repeat what the client sent. */
const maxErrorLength = 16 * 1024;

const noBytes = new Uint8Array(0);

export interface ServerConnectionOptions {
  readonly routes: Routes;
  /** Told about errors that are not ours to answer: a broken connection, a handler that failed in an unforeseen way. */
  readonly onError: (err: unknown) => void;
  readonly onClose: () => void;
}

export class ServerConnection {
  private readonly socket: FrameSocket;
  private readonly options: ServerConnectionOptions;
  private readonly calls = new Map<number, ServerCall>();
  private lastStreamId = 0;
  private draining = false;

  /** Owns `socket` from now on. */
  constructor(socket: Socket, options: ServerConnectionOptions) {
    this.options = options;
    this.socket = new FrameSocket(socket, {
      frame: (frame) => this.receive(frame),
      oversized: (header) => this.refuseOversized(header),
      closed: (err) => this.closed(err),
    });
  }

  /** Takes no new calls and closes after the last one. */
  drain(): void {
    this.draining = true;
    if (this.calls.size === 0) this.socket.end();
  }

  /** Aborts every call and closes. */
  destroy(): void {
    this.socket.destroy();
  }

  private receive(frame: Frame): void {
    if (frame.type === frameTypes.request) this.receiveRequest(frame);
    else if (frame.type === frameTypes.data) this.receiveData(frame);
    // Frames of other types are left to later versions of the protocol.
  }

  private receiveRequest(frame: Frame): void {
    const { streamId } = frame;
    try {
      this.useStreamId(streamId);
      const request = ttrpcWire.Request.decode(frame.data);
      const route = this.route(request.service, request.method);
      if (this.draining) throw unavailable('ttrpc: server closed');
      if (this.calls.size >= maxCalls) throw resourceExhausted(`ttrpc: more than ${maxCalls} calls under way`);
      const call = new ServerCall(route, request, this.output(streamId));
      this.calls.set(streamId, call);
      void call.run(request, (frame.flags & frameFlags.remoteClosed) !== 0);
    } catch (err) {
      this.sendFailure(streamId, err);
    }
  }

  private receiveData(frame: Frame): void {
    const call = this.calls.get(frame.streamId);
    if (call === undefined) {
      this.sendFailure(frame.streamId, invalidArgument(`ttrpc: data for stream ${frame.streamId}, which is not open`));
      return;
    }
    const hasMessage = (frame.flags & frameFlags.noData) === 0;
    call.receive(frame.data, hasMessage, (frame.flags & frameFlags.remoteClosed) !== 0);
  }

  private refuseOversized(header: FrameHeader): void {
    const err = resourceExhausted(
      `ttrpc: message of ${header.length} bytes is larger than the maximum of ${maxDataBytes}`,
    );
    const call = this.calls.get(header.streamId);
    if (header.type === frameTypes.data && call !== undefined) {
      call.stop(err);
      return;
    }
    try {
      if (header.type === frameTypes.request) this.useStreamId(header.streamId);
      this.sendFailure(header.streamId, err);
    } catch (broken) {
      this.sendFailure(header.streamId, broken);
    }
  }

  private useStreamId(streamId: number): void {
    if (streamId % 2 === 0) throw invalidArgument(`ttrpc: stream id ${streamId} is even, clients use odd ones`);
    if (streamId <= this.lastStreamId) throw invalidArgument(`ttrpc: stream id ${streamId} was used before`);
    this.lastStreamId = streamId;
  }

  private route(service: string, method: string): Route {
    const methods = this.options.routes.get(service);
    if (methods === undefined) throw notImplemented(`service ${service}`);
    const route = methods.get(method);
    if (route === undefined) throw notImplemented(`method ${method}`);
    return route;
  }

  private output(streamId: number): ConstructorParameters<typeof ServerCall>[2] {
    return {
      data: (message) => this.socket.send(frameTypes.data, streamId, 0, message),
      dataEnd: () => this.socket.send(frameTypes.data, streamId, frameFlags.remoteClosed | frameFlags.noData, noBytes),
      response: (payload) => this.sendResponse(streamId, { status: undefined, payload }),
      failure: (err) => {
        if (!(err instanceof GantryError)) this.options.onError(err);
        this.sendFailure(streamId, err);
      },
      writable: () => this.socket.writable(),
      hold: () => this.socket.hold(),
      finished: () => this.finished(streamId),
    };
  }

  /** Throws resource exhausted when the message is too large. */
  private sendResponse(streamId: number, response: ttrpcWire.Response): void {
    this.socket.send(frameTypes.response, streamId, 0, ttrpcWire.Response.encode(response));
  }

  private sendFailure(streamId: number, err: unknown): void {
    const { code, message } = toStatus(err);
    const status = { code, message: message.slice(0, maxErrorLength), details: [] };
    this.sendResponse(streamId, { status, payload: noBytes });
  }

  private finished(streamId: number): void {
    this.calls.delete(streamId);
    if (this.draining && this.calls.size === 0) this.socket.end();
  }

  private closed(err: unknown): void {
    for (const call of this.calls.values()) call.abort(unavailable('ttrpc: closed'));
    if (err !== undefined && !isHangUp(err)) this.options.onError(err);
    this.options.onClose();
  }
}

/** A client that went away without a word is nothing to tell anybody about. */
function isHangUp(err: unknown): boolean {
  return err instanceof Error && 'code' in err && (err.code === 'ECONNRESET' || err.code === 'EPIPE');
}
