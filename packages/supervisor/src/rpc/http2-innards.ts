/**
 * What grpc-js has no option for, done to the HTTP/2 servers that it makes: wider windows, and calls that are served
 * without it. Where its innards are others than those looked for here, both are as grpc-js does them.
 */
import type { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { isPlainCall, servePartedCall } from './parted-call.ts';
import type { PartedMethod } from './parted-call.ts';

/**
 * What a client may send before it hears from us: of one stream, and of a connection. HTTP/2's 64 KiB make a client that
 * sends megabytes wait sixteen times for each.
 */
const streamWindowBytes = 1024 * 1024;
const connectionWindowBytes = 4 * streamWindowBytes;

/** Prepares a grpc-js server that does not listen yet. */
export function reachHttp2(server: object, parted: ReadonlyMap<string, PartedMethod>): void {
  const { commonServerOptions: options, http2Servers } = server as {
    readonly commonServerOptions?: { settings?: object };
    readonly http2Servers?: Map<EventEmitter, unknown>;
  };
  if (options === undefined || !(http2Servers instanceof Map)) return;
  options.settings = { ...options.settings, initialWindowSize: streamWindowBytes };
  const add = http2Servers.set.bind(http2Servers);
  http2Servers.set = (http2Server, about) => {
    http2Server.on('session', (session: ServerHttp2Session) => session.setLocalWindowSize(connectionWindowBytes));
    takeCalls(http2Server, parted);
    return add(http2Server, about);
  };
}

/** Serves the parted calls of a server that has its listener for all calls already. */
function takeCalls(http2Server: EventEmitter, parted: ReadonlyMap<string, PartedMethod>): void {
  const listeners = http2Server.listeners('stream');
  if (listeners.length === 0) return;
  http2Server.removeAllListeners('stream');
  http2Server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...more: unknown[]) => {
    const method = parted.get(headers[':path'] ?? '');
    if (method !== undefined && isPlainCall(headers)) void servePartedCall(stream, headers, method);
    else for (const listener of listeners) Reflect.apply(listener, http2Server, [stream, headers, ...more]);
  });
}
