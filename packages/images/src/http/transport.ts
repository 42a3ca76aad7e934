/**
 * The one place that knows undici: connections per TLS setting and proxy, deadlines for connecting, for the answer and
 * between pieces of a body. Nothing is followed, nothing is repeated. Compression is declined; where a server or something on
 * the way compresses all the same, bodies are what was meant, not what was sent.
 */
import { createHash } from 'node:crypto';
import { pipeline, Readable } from 'node:stream';
import type { Transform } from 'node:stream';
import { createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { failedPrecondition, messageOf, resourceExhausted, unavailable } from '@gantry/errors';
import type { Dispatcher } from 'undici';
import { plainUrl } from './http.ts';
import type { HttpHeaders, HttpRequest, HttpResponse, TlsSettings } from './http.ts';
import { proxyFor } from './proxy-environment.ts';
import type { Environment } from './proxy-environment.ts';
import { systemCertificates } from './system-certificates.ts';
import { transportError } from './transport-error.ts';

/** Deadlines in milliseconds. */
export interface TransportTimeouts {
  /** Name look-up, TCP and TLS. */
  readonly connectMs: number;
  /** From the request (or the last piece of its body that could be sent) to the answer's head. */
  readonly answerMs: number;
  /** Between two pieces of an answer's body. */
  readonly idleMs: number;
}

export const defaultTimeouts: TransportTimeouts = { connectMs: 30_000, answerMs: 60_000, idleMs: 30_000 };

export interface TransportOptions {
  readonly timeouts?: Partial<TransportTimeouts>;
  /** Proxies and SSL_CERT_FILE; process.env by default. */
  readonly environment?: Environment;
  readonly userAgent?: string;
}

/** Codings of HTTP that Node undoes. */
const decoders: ReadonlyMap<string, () => Transform> = new Map([
  ['gzip', () => createGunzip()],
  ['x-gzip', () => createGunzip()],
  ['deflate', () => createInflate()],
  ['br', () => createBrotliDecompress()],
]);

/** A rest of this size is read rather than the connection given up. */
const drainableBytes = 64 * 1024;

/** Owns its connections: `close` it. One serves the whole process; it holds no credentials. */
export class Transport {
  readonly #timeouts: TransportTimeouts;
  readonly #environment: Environment;
  readonly #userAgent: string;
  readonly #dispatchers = new Map<string, Promise<Dispatcher>>();
  #certificates: Promise<readonly string[]> | undefined;
  #closed = false;

  constructor(options: TransportOptions = {}) {
    this.#timeouts = { ...defaultTimeouts, ...options.timeouts };
    this.#environment = options.environment ?? process.env;
    this.#userAgent = options.userAgent ?? 'gantry';
  }

  /** See `Send` in http.ts. */
  readonly send = async (request: HttpRequest): Promise<HttpResponse> => {
    const { method, url, body, signal } = request;
    try {
      signal?.throwIfAborted();
      const dispatcher = await this.#dispatcher(request);
      const answer = await dispatcher.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: this.#headersOf(request),
        body: body === undefined ? null : bodyStream(body.open()),
        signal: signal ?? null,
        headersTimeout: this.#timeouts.answerMs,
        bodyTimeout: this.#timeouts.idleMs,
      });
      return new UndiciResponse(answer, request);
    } catch (err) {
      throw transportError(err, request);
    }
  };

  /** Ends all connections; requests under way fail. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const open = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.allSettled(open.map(async (dispatcher) => (await dispatcher).destroy()));
  }

  #headersOf({ headers = {}, body }: HttpRequest): Record<string, string | string[]> {
    const all: HttpHeaders = {
      'user-agent': this.#userAgent,
      // Digests are of the bytes as they are stored; a compressed answer would be others.
      'accept-encoding': 'identity',
      ...headers,
      ...(body === undefined ? {} : { 'content-length': String(body.sizeBytes) }),
    };
    const entries = Object.entries(all).map(([name, value]): [string, string | string[]] => [
      name,
      typeof value === 'string' ? value : [...value],
    ]);
    return Object.fromEntries(entries);
  }

  #dispatcher({ url, tls = {}, connectTimeoutMs = this.#timeouts.connectMs }: HttpRequest): Promise<Dispatcher> {
    if (this.#closed) throw unavailable('the registry transport is closed');
    const proxy = proxyFor(url, this.#environment);
    const secret = url.protocol === 'https:' ? tls : {};
    const key = createHash('sha256')
      .update(JSON.stringify([url.protocol, proxy?.href, connectTimeoutMs, secret]))
      .digest('hex');
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const made = this.#connectWith(url, proxy, secret, connectTimeoutMs);
    this.#dispatchers.set(key, made);
    made.catch(() => this.#dispatchers.delete(key));
    return made;
  }

  async #connectWith(url: URL, proxy: URL | undefined, tls: TlsSettings, connectMs: number): Promise<Dispatcher> {
    // Loading it takes tens of milliseconds and megabytes: paid by the first request only.
    const { Agent, ProxyAgent } = await import('undici');
    const isTls = url.protocol === 'https:';
    const trusted = isTls || proxy?.protocol === 'https:' ? await this.#trusted() : [];
    const secure = isTls
      ? { secureContext: contextOf(tls, trusted), rejectUnauthorized: tls.skipVerify !== true, timeout: connectMs }
      : { timeout: connectMs };
    // Node's own deadline for each address would make a slow network look dead; the one above counts for all.
    const attempt = { autoSelectFamilyAttemptTimeout: Math.min(2_500, connectMs) };
    if (proxy === undefined) return new Agent({ connect: { ...secure, ...attempt } });
    const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    return new ProxyAgent({
      uri: proxy.origin,
      ...(user === ':' ? {} : { token: `Basic ${Buffer.from(user).toString('base64')}` }),
      proxyTunnel: isTls,
      requestTls: secure,
      proxyTls:
        proxy.protocol === 'https:'
          ? { secureContext: contextOf({}, trusted), timeout: connectMs }
          : { timeout: connectMs },
    });
  }

  #trusted(): Promise<readonly string[]> {
    this.#certificates ??= systemCertificates(this.#environment);
    return this.#certificates;
  }
}

/** Throws failed precondition when a certificate or key cannot be used. */
function contextOf({ ca = [], client = [] }: TlsSettings, trusted: readonly string[]): SecureContext {
  try {
    return createSecureContext({
      ca: [...trusted, ...ca],
      cert: client.map(({ certificate }) => certificate),
      key: client.map(({ key }) => key),
    });
  } catch (err) {
    throw failedPrecondition(
      `a certificate or key of the registry's configuration is of no use: ${messageOf(err)}`,
      {},
      err,
    );
  }
}

function bodyStream(pieces: AsyncIterable<Uint8Array>): Readable {
  return Readable.from(pieces, { objectMode: false });
}

class UndiciResponse implements HttpResponse {
  readonly status: number;
  readonly url: URL;
  readonly #answer: Dispatcher.ResponseData;
  readonly #request: HttpRequest;

  constructor(answer: Dispatcher.ResponseData, request: HttpRequest) {
    this.status = answer.statusCode;
    this.url = request.url;
    this.#answer = answer;
    this.#request = request;
    // Whoever reads the body gets the error there; one that nobody reads must not take the process down.
    answer.body.on('error', () => undefined);
  }

  headers(name: string): readonly string[] {
    const value = this.#answer.headers[name];
    if (value === undefined) return [];
    return Array.isArray(value) ? value : [value];
  }

  header(name: string): string | undefined {
    return this.headers(name)[0];
  }

  get body(): AsyncIterable<Uint8Array> {
    return this.#pieces();
  }

  async bytes(limitBytes: number, what: string): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of this.#pieces()) {
      length += piece.length;
      if (length > limitBytes) throw resourceExhausted(`${what} is larger than ${limitBytes} bytes`);
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  async discard(): Promise<void> {
    const { body, headers } = this.#answer;
    const length = Number(headers['content-length'] ?? Number.NaN);
    try {
      if (length <= drainableBytes) await body.dump({ limit: drainableBytes, signal: AbortSignal.timeout(1_000) });
      else body.destroy();
    } catch {
      body.destroy();
    }
  }

  /** Throws unavailable for a coding that nobody asked for and nobody knows. */
  #decoded(): AsyncIterable<unknown> {
    const { body } = this.#answer;
    const coding = this.header('content-encoding')?.trim().toLowerCase() ?? '';
    if (coding === '' || coding === 'identity') return body;
    const make = decoders.get(coding);
    if (make === undefined) {
      body.destroy();
      throw unavailable(`${plainUrl(this.url)} answers in the encoding ${JSON.stringify(coding.slice(0, 40))}`, {
        permanent: true,
      });
    }
    // Ends both when one fails or the reader leaves; the reader gets the error from the decoder.
    return pipeline(body, make(), () => undefined);
  }

  async *#pieces(): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of this.#decoded()) if (piece instanceof Uint8Array) yield piece;
    } catch (err) {
      throw transportError(err, this.#request);
    }
  }
}
