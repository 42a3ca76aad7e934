/** A ttrpc server on unix sockets. While no call is under way it holds no timer and uses no thread: it is fit for a shim. */
import { lstatSync, rmSync } from 'node:fs';
import net from 'node:net';
import type { ServiceType } from '@gantry/api/shim';
import { alreadyExists, failedPrecondition, wrap } from '@gantry/errors';
import type { AnyHandler, Handlers, Route } from './handlers.ts';
import { ServerConnection } from './server-connection.ts';
import { socketPathOf } from './socket-path.ts';

/** How long `close` waits for calls under way. */
const defaultGraceMs = 1000;
/** How long a server that may still listen on a socket that is in our way has to accept us. */
const probeTimeoutMs = 1000;

export interface TtrpcServerOptions {
  /**
   * Told about connections that broke and handlers that threw something other than a GantryError; the callers have been
   * answered. For logging.
   */
  readonly onError?: (err: unknown) => void;
  /** Told how many clients are connected, whenever one has come or gone. */
  readonly onConnections?: (count: number) => void;
}

export class TtrpcServer {
  private readonly onError: (err: unknown) => void;
  private readonly onConnections: (count: number) => void;
  private readonly routes = new Map<string, Map<string, Route>>();
  private readonly connections = new Set<ServerConnection>();
  private listener: net.Server | undefined;
  private idle: (() => void)[] = [];

  constructor(options: TtrpcServerOptions = {}) {
    this.onError = options.onError ?? (() => {});
    this.onConnections = options.onConnections ?? (() => {});
  }

  /** How many clients are connected. */
  get connectionCount(): number {
    return this.connections.size;
  }

  /** Adds a service. Methods without a handler are answered with UNIMPLEMENTED. Throws already exists. */
  register<S extends ServiceType>(service: S, handlers: Handlers<S>): this {
    if (this.routes.has(service.typeName)) throw alreadyExists(`ttrpc service ${service.typeName}`);
    const given = handlers as Readonly<Record<string, AnyHandler | undefined>>;
    const routes = new Map<string, Route>();
    for (const [key, method] of Object.entries(service.methods)) {
      const handler = given[key]?.bind(handlers);
      if (handler !== undefined) routes.set(method.name, { method, handler });
    }
    this.routes.set(service.typeName, routes);
    return this;
  }

  /**
   * Listens on a unix socket that only its owner may use. A socket file that nobody listens on any more is replaced; one
   * with a listener is already exists. The file is removed by `close`.
   */
  async listen(address: string, options: { readonly mode?: number } = {}): Promise<void> {
    if (this.listener !== undefined) throw failedPrecondition('ttrpc server: listens already');
    const path = socketPathOf(address);
    const mode = options.mode ?? 0o600;
    try {
      this.listener = await listenOn(path, mode, (socket) => this.adopt(socket));
    } catch (err) {
      if (!isErrno(err, 'EADDRINUSE')) throw wrap(err, `listening on ${path}`);
      await removeStaleSocket(path);
      this.listener = await listenOn(path, mode, (socket) => this.adopt(socket));
    }
    this.listener.on('error', this.onError);
  }

  /** Serves a connected socket, which the server owns from now on. */
  adopt(socket: net.Socket): void {
    const connection: ServerConnection = new ServerConnection(socket, {
      routes: this.routes,
      onError: this.onError,
      onClose: () => this.forget(connection),
    });
    this.connections.add(connection);
    this.onConnections(this.connections.size);
  }

  /**
   * Stops listening, removes the socket file, closes idle connections, and gives calls under way `graceMs` to finish before
   * they are aborted. Resolves when every connection is closed. Can be repeated.
   */
  async close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.listener?.close();
    this.listener = undefined;
    for (const connection of this.connections) connection.drain();
    const timer = setTimeout(() => {
      for (const connection of this.connections) connection.destroy();
    }, options.graceMs ?? defaultGraceMs);
    try {
      await this.allClosed();
    } finally {
      clearTimeout(timer);
    }
  }

  private forget(connection: ServerConnection): void {
    this.connections.delete(connection);
    this.onConnections(this.connections.size);
    if (this.connections.size > 0) return;
    for (const resolve of this.idle) resolve();
    this.idle = [];
  }

  private async allClosed(): Promise<void> {
    if (this.connections.size === 0) return;
    await new Promise<void>((resolve) => {
      this.idle.push(resolve);
    });
  }
}

/** Binds under an umask that leaves `mode`: there is no moment in which others could connect. */
function listenOn(path: string, mode: number, onSocket: (socket: net.Socket) => void): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer(onSocket);
    server.once('error', reject);
    const before = process.umask(0o777 & ~mode);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve(server);
      });
    } finally {
      process.umask(before);
    }
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  const file = lstatSync(path, { throwIfNoEntry: false });
  if (file === undefined) return;
  if (!file.isSocket()) throw alreadyExists(`${path}: is not a socket`);
  if (await somebodyListens(path)) throw alreadyExists(`${path}: somebody listens on it`);
  rmSync(path, { force: true });
}

function somebodyListens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    const settle = (answer: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => settle(true), probeTimeoutMs);
    socket.on('connect', () => settle(true));
    socket.on('error', (err) => settle(!isErrno(err, 'ECONNREFUSED') && !isErrno(err, 'ENOENT')));
  });
}

function isErrno(err: unknown, code: string): boolean {
  return err instanceof Error && 'code' in err && err.code === code;
}
