/**
 * What to show to a host: nothing until it asks, then what its challenge wants. Tokens are kept until they end, per
 * realm, service and scopes.
 *
 * One authorizer stands for one caller: what it has learnt with the caller's credentials is never used for another.
 */
import { GantryError } from '@gantry/errors';
import type { Send, TlsSettings } from '../http/http.ts';
import { orCancelled } from '../http/retry.ts';
import type { RetryPolicy } from '../http/retry.ts';
import { parseChallenges } from './challenge.ts';
import type { Challenge } from './challenge.ts';
import { basicAuthorization } from '@gantry/credentials';
import type { CredentialSource, FoundCredentials } from '@gantry/credentials';
import { mergeScopes, splitScopes } from './scope.ts';
import { fetchToken } from './token.ts';
import type { Token } from './token.ts';

/** The part of a registry host that matters here. */
export interface AuthorizedHost {
  /** Where requests go. */
  readonly url: URL;
  readonly tls: TlsSettings;
}

export interface AuthorizerComponents {
  readonly send: Send;
  readonly credentials: CredentialSource;
  readonly retry: RetryPolicy;
}

/** What a host has asked for. */
interface Demand {
  readonly challenge: Challenge;
  /** As they came. */
  readonly headers: readonly string[];
  /** Requested scopes → those and what the challenge wanted for them. */
  readonly scopes: Map<string, readonly string[]>;
}

/** `token` once it is there. */
interface KeptToken {
  readonly promise: Promise<Token>;
  token: Token | undefined;
}

export class Authorizer {
  readonly #components: AuthorizerComponents;
  readonly #demands = new Map<string, Demand>();
  readonly #tokens = new Map<string, KeptToken>();
  readonly #found = new Map<string, Promise<FoundCredentials | undefined>>();

  constructor(components: AuthorizerComponents) {
    this.#components = components;
  }

  /** The Authorization header for a request with these scopes; undefined as long as the host has not asked. */
  async authorization(
    host: AuthorizedHost,
    scopes: readonly string[],
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const demand = this.#demands.get(host.url.origin);
    if (demand === undefined) return undefined;
    const found = await this.#lookup(host, signal, demand.headers);
    if (found?.credentials.kind === 'header') return found.credentials.value;
    if (demand.challenge.scheme === 'basic') {
      if (found?.credentials.kind !== 'password') return undefined;
      return basicAuthorization(found.credentials.username, found.credentials.password);
    }
    if (found?.credentials.kind === 'registry token') return `Bearer ${found.credentials.token}`;
    const token = await orCancelled(this.#token(host, demand, scopes, found), signal, 'getting a token');
    return `Bearer ${token.value}`;
  }

  /**
   * Takes in a 401. `shown` is the header that was not enough. True: there is something else to show now. False: the
   * host has seen all we have (see `denied`).
   */
  async challenged(
    host: AuthorizedHost,
    headers: readonly string[],
    request: {
      readonly scopes: readonly string[];
      readonly shown: string | undefined;
      readonly signal?: AbortSignal | undefined;
    },
  ): Promise<boolean> {
    const challenge = chosen(parseChallenges(headers));
    if (challenge === undefined) return false;
    const old = this.#demands.get(host.url.origin);
    const same = old !== undefined && sameAuthority(old.challenge, challenge);
    const demand: Demand = { challenge, headers, scopes: same ? old.scopes : new Map() };
    demand.scopes.set(keyOf(request.scopes), mergeScopes(request.scopes, splitScopes(challenge.parameters['scope'])));
    this.#demands.set(host.url.origin, demand);
    this.#forget(host, demand, request.scopes, request.shown);
    const next = await this.authorization(host, request.scopes, request.signal);
    return next !== undefined && next !== request.shown;
  }

  /** The error for a host that has seen all we have. */
  async denied(host: AuthorizedHost, doing: string, err: GantryError): Promise<GantryError> {
    const found = await this.#lookup(host).catch(() => undefined);
    const name = host.url.host;
    const why =
      found === undefined
        ? `the repository does not exist or may require authorization, and there are no credentials for ${name}: log in first`
        : `the repository does not exist, or the credentials for ${name} from ${found.source} are not accepted: check them, or log in again`;
    return new GantryError('unauthenticated', `${doing}: access denied: ${why}`, { details: err.details, cause: err });
  }

  /** A token that the host refused is not shown again. */
  #forget(host: AuthorizedHost, demand: Demand, scopes: readonly string[], shown: string | undefined): void {
    const key = tokenKey(demand, wanted(demand, scopes), host);
    const token = this.#tokens.get(key)?.token;
    if (token !== undefined && shown === `Bearer ${token.value}`) this.#tokens.delete(key);
  }

  /** A token that is kept or on its way serves everybody who wants the same. */
  #token(
    host: AuthorizedHost,
    demand: Demand,
    requested: readonly string[],
    found: FoundCredentials | undefined,
  ): Promise<Token> {
    const scopes = wanted(demand, requested);
    const key = tokenKey(demand, scopes, host);
    const known = this.#tokens.get(key);
    if (known !== undefined && (known.token === undefined || known.token.staleAtMs > Date.now())) return known.promise;
    const { realm = '', service } = demand.challenge.parameters;
    const { send, retry } = this.#components;
    const promise = fetchToken(send, { registry: host.url, tls: host.tls, realm, service, scopes, found }, retry);
    const kept: KeptToken = { promise, token: undefined };
    this.#tokens.set(key, kept);
    promise.then(
      (token) => {
        kept.token = token;
      },
      () => {
        if (this.#tokens.get(key) === kept) this.#tokens.delete(key);
      },
    );
    return promise;
  }

  #lookup(
    host: AuthorizedHost,
    signal?: AbortSignal,
    challenges?: readonly string[],
  ): Promise<FoundCredentials | undefined> {
    const name = host.url.host;
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const found = this.#components.credentials.lookup(name, signal, challenges);
    this.#found.set(name, found);
    found.catch(() => this.#found.delete(name));
    return found;
  }
}

/** Bearer before Basic, as is the custom; what else there is, is unknown here. */
function chosen(challenges: readonly Challenge[]): Challenge | undefined {
  return (
    challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters['realm'] !== undefined) ??
    challenges.find(({ scheme }) => scheme === 'basic')
  );
}

function sameAuthority(a: Challenge, b: Challenge): boolean {
  return (
    a.scheme === b.scheme &&
    a.parameters['realm'] === b.parameters['realm'] &&
    a.parameters['service'] === b.parameters['service']
  );
}

function keyOf(scopes: readonly string[]): string {
  return mergeScopes(scopes).join(' ');
}

function wanted(demand: Demand, scopes: readonly string[]): readonly string[] {
  return demand.scopes.get(keyOf(scopes)) ?? mergeScopes(scopes);
}

function tokenKey({ challenge }: Demand, scopes: readonly string[], host: AuthorizedHost): string {
  const { realm = '', service = '' } = challenge.parameters;
  return JSON.stringify([host.url.origin, realm, service, ...scopes]);
}
