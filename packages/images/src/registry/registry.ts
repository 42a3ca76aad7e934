/**
 * A registry client: resolves references, fetches and pushes content, lists referrers.
 *
 * Vocabulary
 * - A **resolver** turns a reference into a descriptor and gives the other two.
 * - A **fetcher** gets content of one repository by descriptor, from any offset.
 * - A **pusher** brings content into one repository.
 *
 * One `Registry` stands for one caller: tokens got with his credentials serve nobody else. It is cheap to make; the
 * transport below it is what is shared.
 */
import { formatReference, parseReference } from '@gantry/oci';
import type { Descriptor, Digest, Reference } from '@gantry/oci';
import { Authorizer } from '../auth/authorizer.ts';
import { anonymous } from '@gantry/credentials';
import type { CredentialSource } from '@gantry/credentials';
import { defaultHosts } from '../hosts/registry-host.ts';
import type { HostSource } from '../hosts/registry-host.ts';
import type { Send } from '../http/http.ts';
import { defaultRetryPolicy } from '../http/retry.ts';
import type { RetryPolicy } from '../http/retry.ts';
import { fetchContent } from './fetch.ts';
import type { Fetched, FetchOptions } from './fetch.ts';
import { HostClient } from './host-client.ts';
import { pushBlob } from './push-blob.ts';
import { hasManifest, pushManifest } from './push-manifest.ts';
import type { PushOptions, PushOutcome, PushSource } from './push-source.ts';
import { listReferrers } from './referrers.ts';
import type { Repository } from './repository.ts';
import { resolve } from './resolve.ts';

/** What a reference stands for. `name` is the full reference. */
export interface ResolvedReference {
  readonly name: string;
  readonly descriptor: Descriptor;
}

export interface Fetcher {
  /** See fetch.ts. Not found when no host has it. */
  fetch(descriptor: Descriptor, options?: FetchOptions): Promise<Fetched>;
}

export interface Pusher {
  /** Brings a blob into the repository, unless it is there. */
  pushBlob(descriptor: Descriptor, source: PushSource, options?: PushOptions): Promise<PushOutcome>;
  /** Brings a manifest or index in, under its digest or, with `tag`, under that tag. What it refers to must be there. */
  pushManifest(
    descriptor: Descriptor,
    bytes: Uint8Array,
    options?: PushOptions & { readonly tag?: string | undefined },
  ): Promise<PushOutcome>;
  /** True when the repository has the manifest. */
  hasManifest(digest: Digest, signal?: AbortSignal): Promise<boolean>;
}

export interface Resolver {
  /** See resolve.ts. `name` is a full reference with a tag or a digest. */
  resolve(name: string, signal?: AbortSignal): Promise<ResolvedReference>;
  fetcher(name: string): Promise<Fetcher>;
  pusher(name: string): Promise<Pusher>;
}

export interface RegistryOptions {
  /** `transport.send`. */
  readonly send: Send;
  readonly credentials?: CredentialSource;
  readonly hosts?: HostSource;
  readonly retry?: Partial<RetryPolicy>;
  /** Layers that registries do not hold may be fetched from the addresses that the image names. */
  readonly allowForeignLayers?: boolean;
}

export class Registry implements Resolver {
  readonly #send: Send;
  readonly #hosts: HostSource;
  readonly #retry: RetryPolicy;
  readonly #authorizer: Authorizer;
  readonly #allowForeignLayers: boolean;
  readonly #plainOrigins = new Set<string>();

  constructor(options: RegistryOptions) {
    this.#send = options.send;
    this.#hosts = options.hosts ?? defaultHosts();
    this.#retry = { ...defaultRetryPolicy, ...options.retry };
    this.#allowForeignLayers = options.allowForeignLayers ?? false;
    const { credentials = anonymous } = options;
    this.#authorizer = new Authorizer({ send: this.#send, credentials, retry: this.#retry });
  }

  async resolve(name: string, signal?: AbortSignal): Promise<ResolvedReference> {
    const reference = parseReference(name);
    return { name: formatReference(reference), descriptor: await resolve(await this.#repository(reference), signal) };
  }

  async fetcher(name: string): Promise<Fetcher> {
    const repository = await this.#repository(parseReference(name));
    const foreign = this.#allowForeignLayers ? { send: this.#send, retry: this.#retry } : undefined;
    return { fetch: async (descriptor, options = {}) => fetchContent(repository, descriptor, options, foreign) };
  }

  async pusher(name: string): Promise<Pusher> {
    const repository = await this.#repository(parseReference(name));
    const retry = this.#retry;
    return {
      pushBlob: async (descriptor, source, options = {}) =>
        pushBlob({ repository, retry }, descriptor, source, options),
      pushManifest: async (descriptor, bytes, options = {}) => pushManifest(repository, descriptor, bytes, options),
      hasManifest: async (digest, signal) => hasManifest(repository, digest, signal),
    };
  }

  /**
   * What refers to a manifest: signatures, attestations, bills of materials; of one artifact type, if named. By the
   * referrers API, or by the tag that stands in for it.
   */
  async referrers(
    name: string,
    digest: Digest,
    options: { readonly artifactType?: string; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly Descriptor[]> {
    return listReferrers(await this.#repository(parseReference(name)), digest, options);
  }

  async #repository(reference: Reference): Promise<Repository> {
    const { domain, path } = reference;
    const hosts = await this.#hosts.hostsFor(domain);
    const shared = {
      domain,
      path,
      send: this.#send,
      authorizer: this.#authorizer,
      retry: this.#retry,
      plainOrigins: this.#plainOrigins,
    };
    return { reference, hosts: hosts.map((host) => new HostClient({ ...shared, host })) };
  }
}
