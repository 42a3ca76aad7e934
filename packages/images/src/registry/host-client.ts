/** Requests for one repository at one host: its configuration, authorization, repetition. */
import { GantryError, isCode, wrap } from '@gantry/errors';
import type { Authorizer } from '../auth/authorizer.ts';
import type { RegistryHost } from '../hosts/registry-host.ts';
import { apiHostOf } from '../hosts/registry-host.ts';
import { sameOrigin } from '../http/http.ts';
import type { HttpBody, HttpHeaders, HttpMethod, HttpRequest, HttpResponse, Send } from '../http/http.ts';
import { stripped } from '../http/redirect.ts';
import type { RetryPolicy } from '../http/retry.ts';
import { sendRetrying } from '../http/send-retrying.ts';
import { registryError } from './registry-error.ts';

/** How often a host may ask for another authorization within one request: for the first, for a fresh token, for more scopes. */
const maximumChallenges = 3;

export interface RegistryRequest {
  readonly method: HttpMethod;
  /** Below the repository (`manifests/latest`), or where an upload goes on. */
  readonly target: string | URL;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: HttpHeaders;
  readonly body?: HttpBody;
  readonly scopes: readonly string[];
  /** Opens the sentence of an error: `resolving docker.io/library/busybox:latest`. */
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
  /** False: one attempt, because somebody else can be asked instead, or because the request must not be repeated as it is. */
  readonly retry?: boolean;
}

export interface HostClientComponents {
  readonly host: RegistryHost;
  /** Of the reference. */
  readonly domain: string;
  readonly path: string;
  readonly send: Send;
  readonly authorizer: Authorizer;
  readonly retry: RetryPolicy;
  /** Origins that turned out not to speak TLS; shared by all clients of a registry. */
  readonly plainOrigins: Set<string>;
}

export class HostClient {
  readonly host: RegistryHost;
  readonly domain: string;
  readonly path: string;
  readonly #components: HostClientComponents;

  constructor(components: HostClientComponents) {
    this.#components = components;
    this.host = components.host;
    this.domain = components.domain;
    this.path = components.path;
  }

  /** `mirror.example:5000`, for messages. */
  get name(): string {
    return this.host.api.host;
  }

  /**
   * The answer, whatever its status but 401. Throws unauthenticated when the host has seen all we have, and what the
   * transport throws. The body belongs to the caller.
   */
  async request(request: RegistryRequest): Promise<HttpResponse> {
    const { authorizer } = this.#components;
    for (let challenges = 1; ; challenges++) {
      const own = this.#authorized();
      const url = this.#urlOf(request);
      const isOwn = sameOrigin(url, own.url);
      const shown = isOwn ? await authorizer.authorization(own, request.scopes, request.signal) : undefined;
      let response: HttpResponse;
      try {
        response = await this.#send(this.#httpRequest(request, url, isOwn, shown), request.retry !== false);
      } catch (err) {
        if (!this.#fallsBack(err, url)) throw isCode(err, 'cancelled') ? err : wrap(err, request.doing);
        this.#components.plainOrigins.add(this.host.api.origin);
        continue;
      }
      // What another origin asks for after a redirect is not the registry's word: no credentials for it.
      if (response.status !== 401 || !isOwn || !sameOrigin(response.url, url)) return response;
      const wanted = response.headers('www-authenticate');
      const refusal = await registryError(response, request.doing);
      const { scopes, signal } = request;
      const goesOn =
        challenges < maximumChallenges && (await authorizer.challenged(own, wanted, { scopes, shown, signal }));
      if (!goesOn) throw await authorizer.denied(own, request.doing, refusal);
    }
  }

  /** As `request`; an answer of another status than these is an error (registry-error.ts). */
  async expect(statuses: readonly number[], request: RegistryRequest): Promise<HttpResponse> {
    const response = await this.request(request);
    if (statuses.includes(response.status)) return response;
    throw await registryError(response, request.doing);
  }

  /** The API root as it is used: by plain HTTP once that turned out to be all there is. */
  get #api(): URL {
    const { api } = this.host;
    return this.#components.plainOrigins.has(api.origin) ? new URL(api.href.replace(/^https:/, 'http:')) : api;
  }

  #authorized(): { readonly url: URL; readonly tls: RegistryHost['tls'] } {
    return { url: this.#api, tls: this.host.tls };
  }

  #urlOf({ target, query = {} }: RegistryRequest): URL {
    const url =
      target instanceof URL ? new URL(target) : new URL(`${this.#api.href.replace(/\/$/, '')}/${this.path}/${target}`);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    // A mirror of several registries must be told which one is meant.
    if (!(target instanceof URL) && this.host.api.host !== apiHostOf(this.domain))
      url.searchParams.set('ns', this.domain);
    return url;
  }

  #httpRequest(request: RegistryRequest, url: URL, isOwn: boolean, shown: string | undefined): HttpRequest {
    const { method, headers = {}, body, signal } = request;
    const { tls, connectTimeoutMs } = this.host;
    const foreign: HttpRequest = stripped({ method, url, headers, body, tls, signal, connectTimeoutMs });
    if (!isOwn) return foreign;
    const authorization = shown === undefined ? {} : { authorization: shown };
    return { ...foreign, tls, headers: { ...this.host.headers, ...headers, ...authorization } };
  }

  async #send(request: HttpRequest, mayRetry: boolean): Promise<HttpResponse> {
    const { send, retry } = this.#components;
    return sendRetrying(send, request, mayRetry ? retry : { ...retry, attempts: 1 });
  }

  /** Requests that were on their way when another one found out fall back as well. */
  #fallsBack(err: unknown, url: URL): boolean {
    if (!this.host.plainHttpFallback || url.protocol !== 'https:') return false;
    return err instanceof GantryError && isCode(err, 'failed precondition') && err.details['plainHttp'] === true;
  }
}
