/** A server in front of a registry that spoils what passes through it, as it is told request by request. */
import { createServer as createPlain, request as plainRequest } from 'node:http';
import type { IncomingMessage, OutgoingHttpHeaders, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createTls, request as tlsRequest } from 'node:https';
import { readFileSync } from 'node:fs';
import { createGzip } from 'node:zlib';
import { setTimeout as delay } from 'node:timers/promises';
import type { Certificate } from './registry-server.ts';

/** What is done to one answer. */
export interface Fault {
  /** Answers itself, without asking the registry. */
  readonly answer?: { readonly status: number; readonly headers?: OutgoingHttpHeaders; readonly body?: string };
  /** Breaks the connection after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Turns the byte at this place of the body over. */
  readonly corruptAt?: number;
  /** Appends these bytes to the body. */
  readonly append?: string;
  /** Replaces headers of the answer. */
  readonly headers?: OutgoingHttpHeaders;
  /** Compresses the body, whatever the client said that it accepts; the places above are then of what is sent. */
  readonly gzip?: boolean;
  /** Waits before each piece of the body. */
  readonly pieceDelayMs?: number;
  /** Breaks the connection after so many bytes of the request's body, without an answer. */
  readonly cutRequestAfter?: number;
}

/** One request as it came. */
export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export type Decide = (request: SeenRequest) => Fault | undefined;

export interface FaultyProxy {
  readonly host: string;
  readonly seen: readonly SeenRequest[];
  /** Bytes of bodies sent to the client. */
  readonly sentBytes: number;
  /** Replaces the rule; also forgets what was seen. */
  decide(rule: Decide): void;
  stop(): Promise<void>;
}

/** Faults that end by themselves: the first `times` requests that match get them. */
export function times(count: number, matches: (request: SeenRequest) => boolean, fault: Fault): Decide {
  let left = count;
  return (request) => {
    if (left === 0 || !matches(request)) return undefined;
    left -= 1;
    return fault;
  };
}

export async function faultyProxy(
  upstream: string,
  options: { readonly tls?: Certificate; /** Clients must show this certificate. */ readonly clients?: string } = {},
): Promise<FaultyProxy> {
  let rule: Decide = () => undefined;
  let seen: SeenRequest[] = [];
  const count = { sentBytes: 0 };
  const listener: RequestListener = (request, response) => {
    const { method = 'GET', url = '/', headers } = request;
    const one = { method, url, headers };
    seen.push(one);
    const fault = rule(one) ?? {};
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    if (fault.answer === undefined) forward(new URL(url, upstream), request, response, fault, count);
    else {
      request.resume();
      response.writeHead(fault.answer.status, fault.answer.headers).end(fault.answer.body ?? '');
    }
  };
  const { tls, clients } = options;
  const asks = clients === undefined ? {} : { requestCert: true, rejectUnauthorized: true, ca: readFileSync(clients) };
  const server: Server =
    tls === undefined
      ? createPlain(listener)
      : createTls({ cert: readFileSync(tls.certificate), key: readFileSync(tls.key), ...asks }, listener);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    host: `127.0.0.1:${address.port}`,
    get seen() {
      return seen;
    },
    get sentBytes() {
      return count.sentBytes;
    },
    decide(next) {
      rule = next;
      seen = [];
      count.sentBytes = 0;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

function forward(
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
  fault: Fault,
  count: { sentBytes: number },
): void {
  const send = url.protocol === 'https:' ? tlsRequest : plainRequest;
  const options = {
    method: request.method,
    headers: request.headers,
    rejectUnauthorized: false,
    agent: false as const,
  };
  const passed = send(url, options, (answer) => void relay(answer, response, fault, count));
  passed.on('error', () => response.destroy());
  if (fault.cutRequestAfter === undefined) request.pipe(passed);
  else void cutRequest(request, passed, fault.cutRequestAfter);
}

/** Passes on a part of what is uploaded, then breaks both connections. */
async function cutRequest(
  request: IncomingMessage,
  passed: ReturnType<typeof plainRequest>,
  after: number,
): Promise<void> {
  let left = after;
  request.on('data', (piece: Buffer) => {
    passed.write(piece.subarray(0, Math.max(0, left)));
    left -= piece.length;
    if (left <= 0) {
      request.pause();
      passed.destroy();
      request.socket.destroy();
    }
  });
  request.on('end', () => passed.end());
}

async function relay(
  answer: IncomingMessage,
  response: ServerResponse,
  fault: Fault,
  count: { sentBytes: number },
): Promise<void> {
  const lengthChanges = fault.append !== undefined || fault.gzip === true;
  const { 'content-length': length, ...others } = answer.headers;
  const headers = lengthChanges ? others : answer.headers;
  response.writeHead(answer.statusCode ?? 502, {
    ...headers,
    ...(length === undefined || lengthChanges ? {} : { 'content-length': length }),
    ...(fault.gzip === true ? { 'content-encoding': 'gzip' } : {}),
    ...fault.headers,
  });
  let position = 0;
  const bodyless = response.req.method === 'HEAD';
  const source = fault.gzip === true && !bodyless ? answer.pipe(createGzip({ level: 1 })) : answer;
  try {
    for await (const chunk of source) {
      let piece: Buffer = Buffer.from(chunk);
      if (fault.pieceDelayMs !== undefined) await delay(fault.pieceDelayMs);
      const spoiled = fault.corruptAt === undefined ? -1 : fault.corruptAt - position;
      if (spoiled >= 0 && spoiled < piece.length) piece[spoiled] = (piece[spoiled] ?? 0) ^ 0xff;
      if (fault.cutAfter !== undefined && position + piece.length > fault.cutAfter) {
        piece = piece.subarray(0, Math.max(0, fault.cutAfter - position));
        await write(response, piece);
        count.sentBytes += piece.length;
        response.destroy();
        answer.destroy();
        return;
      }
      position += piece.length;
      count.sentBytes += piece.length;
      await write(response, piece);
    }
    response.end(fault.append ?? '');
  } catch {
    response.destroy();
  }
}

function write(response: ServerResponse, piece: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    response.write(piece, (err) => (err ? reject(err) : resolve()));
  });
}
