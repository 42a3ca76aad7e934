/** The hosts that serve a registry's names: the registry itself and its mirrors. */
import { isLoopback } from '../http/http.ts';
import type { TlsSettings } from '../http/http.ts';

/** What a host may be asked for. `resolve`: tags may be looked up there, not only content by digest. */
export const hostCapabilities = ['pull', 'resolve', 'push', 'referrers'] as const;
export type HostCapability = (typeof hostCapabilities)[number];

export interface RegistryHost {
  /** The root of its API, without a slash at the end: `https://mirror.example:5000/v2`. */
  readonly api: URL;
  readonly capabilities: ReadonlySet<HostCapability>;
  /** Sent with every request to it; they may hold secrets. Names in lower case. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly tls: TlsSettings;
  readonly connectTimeoutMs?: number;
  /** When it turns out not to speak TLS it is asked by plain HTTP. Hosts of this machine only. */
  readonly plainHttpFallback: boolean;
}

/** Finds the hosts for the domain of a reference, in the order they are to be tried. Never empty. */
export interface HostSource {
  hostsFor(domain: string): Promise<readonly RegistryHost[]>;
}

export const allCapabilities: ReadonlySet<HostCapability> = new Set(hostCapabilities);

/** The host that serves a domain's API. docker.io is the one domain whose API is elsewhere. */
export function apiHostOf(domain: string): string {
  return domain === 'docker.io' ? 'registry-1.docker.io' : domain;
}

/** What is known of a host without any configuration. */
export interface HostDefaults {
  /** Every registry without configuration of its own is asked by plain HTTP. */
  readonly plainHttp?: boolean;
  readonly tls?: TlsSettings;
}

/**
 * The host of a domain that nothing was configured for. On this machine, and on a port of its own, it is asked by HTTPS
 * with any certificate and, failing that, by plain HTTP; port 80 there is HTTP, port 443 or none is HTTPS.
 */
export function defaultHost(domain: string, defaults: HostDefaults = {}): RegistryHost {
  const host = apiHostOf(domain);
  const { port, hostname } = new URL(`https://${host}`);
  const isLocal = isLoopback(hostname);
  // URL leaves out port 443, which is the default of the scheme used here.
  const isHttpPort = isLocal && port === '80';
  const hasOwnPort = isLocal && port !== '' && port !== '80';
  const scheme = defaults.plainHttp === true || isHttpPort ? 'http' : 'https';
  const tls = defaults.tls ?? (hasOwnPort ? { skipVerify: true } : {});
  return {
    api: new URL(`${scheme}://${host}/v2`),
    capabilities: allCapabilities,
    headers: {},
    tls,
    plainHttpFallback: hasOwnPort && scheme === 'https',
  };
}

/** No configuration: each domain is served by its default host. */
export function defaultHosts(defaults: HostDefaults = {}): HostSource {
  return { hostsFor: async (domain) => [defaultHost(domain, defaults)] };
}
