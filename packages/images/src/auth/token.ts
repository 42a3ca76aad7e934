/**
 * Fetching a bearer token from the server that a registry's challenge names: by form (OAuth 2) when there is a secret,
 * by query with Basic authorization otherwise, or when the server does not know the form.
 */
import { GantryError, invalidArgument } from '@gantry/errors';
import { sameOrigin } from '../http/http.ts';
import type { HttpBody, HttpRequest, HttpResponse, Send, TlsSettings } from '../http/http.ts';
import { refuseDowngrade, stripped } from '../http/redirect.ts';
import { sendRetrying } from '../http/send-retrying.ts';
import type { RetryPolicy } from '../http/retry.ts';
import { parseJsonObject, textOf } from '@gantry/credentials/json';
import { registryError } from '../registry/registry-error.ts';
import { basicAuthorization } from '@gantry/credentials';
import type { FoundCredentials } from '@gantry/credentials';

const maximumAnswerBytes = 1024 * 1024;
const defaultLifetimeS = 60;
/** A token is not shown when it would end on its way. */
const marginMs = 5_000;
const clientId = 'gantry';

/** Answers that say that the form is unknown here, or that this secret is not for it. */
const formRefused: ReadonlySet<number> = new Set([400, 401, 404, 405]);

export interface Token {
  readonly value: string;
  /** Milliseconds since the epoch; not to be used from then on. */
  readonly staleAtMs: number;
}

export interface TokenRequest {
  /** The registry whose challenge it was: its certificates are trusted here as well. */
  readonly registry: URL;
  readonly tls: TlsSettings;
  readonly realm: string;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly found: FoundCredentials | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Throws unauthenticated when the secret is refused (the message names its source), failed precondition when it would
 * travel in the open, invalid argument for a malformed challenge or answer, and what `registryError` says otherwise.
 */
export async function fetchToken(send: Send, request: TokenRequest, policy: RetryPolicy): Promise<Token> {
  const realm = realmUrl(request);
  const { found } = request;
  if (found !== undefined) {
    const response = await sendRetrying(send, formRequest(request, realm, found), policy);
    if (response.status === 200) return readToken(response);
    const canGoOn = formRefused.has(response.status) && found.credentials.kind === 'password';
    if (!canGoOn) throw await refusal(response, request);
    await response.discard();
  }
  const response = await sendRetrying(send, queryRequest(request, realm), policy);
  if (response.status === 200) return readToken(response);
  throw await refusal(response, request);
}

function realmUrl({ realm, registry }: TokenRequest): URL {
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw invalidArgument(
      `${registry.host} names ${JSON.stringify(realm.slice(0, 200))} as its token server: not an HTTP URL`,
    );
  }
  refuseDowngrade(registry, url);
  return url;
}

function formRequest(request: TokenRequest, realm: URL, { credentials }: FoundCredentials): HttpRequest {
  const form = new URLSearchParams({ client_id: clientId, scope: request.scopes.join(' ') });
  if (request.service !== undefined) form.set('service', request.service);
  if (credentials.kind === 'password') {
    form.set('grant_type', 'password');
    form.set('username', credentials.username);
    form.set('password', credentials.password);
  } else if (credentials.kind !== 'header') {
    form.set('grant_type', 'refresh_token');
    form.set('refresh_token', credentials.token);
  }
  return {
    method: 'POST',
    url: realm,
    headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
    body: bytesBody(Buffer.from(form.toString())),
    ...connection(request, realm),
  };
}

function queryRequest(request: TokenRequest, realm: URL): HttpRequest {
  const url = new URL(realm);
  if (request.service !== undefined) url.searchParams.set('service', request.service);
  for (const scope of request.scopes) url.searchParams.append('scope', scope);
  const credentials = request.found?.credentials;
  return {
    method: 'GET',
    url,
    headers: {
      accept: 'application/json',
      ...(credentials?.kind === 'password'
        ? { authorization: basicAuthorization(credentials.username, credentials.password) }
        : {}),
    },
    ...connection(request, realm),
  };
}

/** The registry's CA holds for its token server too, its client certificate only when it is the same origin. */
function connection({ registry, tls, signal }: TokenRequest, realm: URL): Pick<HttpRequest, 'tls' | 'signal'> {
  if (sameOrigin(registry, realm)) return { tls, signal };
  return { tls: stripped({ method: 'GET', url: realm, tls }).tls, signal };
}

async function readToken(response: HttpResponse): Promise<Token> {
  const what = `the answer of token server ${response.url.host}`;
  const answer = parseJsonObject(await response.bytes(maximumAnswerBytes, what), what);
  const value = textOf(answer, 'access_token') ?? textOf(answer, 'token');
  if (value === undefined || !/^[\u0021-\u007e]+$/.test(value)) throw invalidArgument(`${what} has no token`);
  const seconds = answer['expires_in'];
  const lifetimeS = typeof seconds === 'number' && seconds > 0 ? Math.min(seconds, 24 * 3600) : defaultLifetimeS;
  // Counted from now and not from `issued_at`: the clocks may differ.
  return { value, staleAtMs: Date.now() + Math.max(lifetimeS * 500, lifetimeS * 1000 - marginMs) };
}

async function refusal(response: HttpResponse, { registry, found }: TokenRequest): Promise<GantryError> {
  const err = await registryError(response, `getting a token for ${registry.host}`);
  if (response.status !== 401 && response.status !== 400 && response.status !== 403) return err;
  const why =
    found === undefined
      ? `anonymous access is refused: log in to ${registry.host} first`
      : `the credentials from ${found.source} are refused: log in to ${registry.host} again`;
  return new GantryError('unauthenticated', `${err.message}: ${why}`, { details: err.details });
}

/** A body that is in memory. */
export function bytesBody(bytes: Uint8Array): HttpBody {
  return {
    sizeBytes: bytes.length,
    async *open() {
      yield bytes;
    },
  };
}
