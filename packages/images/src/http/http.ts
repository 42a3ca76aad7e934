/**
 * HTTP as this room uses it: one request, one answer, streamed both ways, bounded in time, never redirected behind the
 * caller's back. What stands behind it (undici) is known to transport.ts only.
 */

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** Whom to trust and who we are. PEM texts. */
export interface TlsSettings {
  /** Certificates trusted beside the system's. */
  readonly ca?: readonly string[];
  /** What we show when the server asks; never shown to another origin after a redirect. */
  readonly client?: readonly { readonly certificate: string; readonly key: string }[];
  /** Any certificate will do. */
  readonly skipVerify?: boolean;
}

/** A request's body. `open` may be called again: a request that has to be repeated sends it from its start. */
export interface HttpBody {
  readonly sizeBytes: number;
  open(): AsyncIterable<Uint8Array>;
}

/** Header names in lower case. */
export type HttpHeaders = Readonly<Record<string, string | readonly string[]>>;

export interface HttpRequest {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly headers?: HttpHeaders;
  readonly body?: HttpBody | undefined;
  readonly tls?: TlsSettings | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Deadline for the connection, milliseconds; the transport's default otherwise. */
  readonly connectTimeoutMs?: number | undefined;
}

/** An answer. Its body belongs to the caller: read it to its end, or `discard` it. */
export interface HttpResponse {
  readonly status: number;
  /** Where the answer came from: after redirects not what was asked. */
  readonly url: URL;
  /** The first header of this name (lower case). */
  header(name: string): string | undefined;
  /** All headers of this name. */
  headers(name: string): readonly string[];
  /** The bytes as they come. Ends with unavailable when the connection breaks or nothing comes for too long. */
  readonly body: AsyncIterable<Uint8Array>;
  /** The whole body. Throws resource exhausted, saying `what` it was, as soon as it is larger than the limit. */
  bytes(limitBytes: number, what: string): Promise<Buffer>;
  /** Lets go of the body. Never throws. */
  discard(): Promise<void>;
}

/** Sends one request. Fails with unavailable (worth a retry), failed precondition (TLS, set-up), or cancelled. */
export type Send = (request: HttpRequest) => Promise<HttpResponse>;

/** True when both URLs have the same scheme, host and port. */
export function sameOrigin(a: URL, b: URL): boolean {
  return a.origin === b.origin;
}

/** True for names and addresses of this machine: `localhost`, 127.0.0.0/8, ::1. */
export function isLoopback(hostname: string): boolean {
  const name = hostname.toLowerCase();
  return name === 'localhost' || name === '[::1]' || name === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name);
}

/** A URL for messages: without user, password and query, which may hold secrets. */
export function plainUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}

/** True when the bytes of the body are not those that were sent. */
export function isEncoded(response: HttpResponse): boolean {
  return !['', 'identity'].includes(response.header('content-encoding')?.trim().toLowerCase() ?? '');
}
