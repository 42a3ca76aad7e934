/**
 * Which proxy a request goes through, by the environment variables that curl and Go programs obey: HTTPS_PROXY,
 * HTTP_PROXY, NO_PROXY and their lower-case forms. This machine is never reached through a proxy.
 */
import { BlockList, isIP } from 'node:net';
import { invalidArgument } from '@gantry/errors';
import { isLoopback } from './http.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

function variable(env: Environment, name: string): string {
  return env[name] || env[name.toLowerCase()] || '';
}

/** The proxy for `url`; undefined when it is reached directly. Throws invalid argument for a proxy that is no HTTP URL. */
export function proxyFor(url: URL, env: Environment): URL | undefined {
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const text = variable(env, name);
  if (text === '' || isLoopback(url.hostname) || isExempt(url, variable(env, 'NO_PROXY'))) return undefined;
  const proxy = URL.canParse(text) && text.includes('://') ? new URL(text) : undefined;
  const found = proxy ?? (URL.canParse(`http://${text}`) ? new URL(`http://${text}`) : undefined);
  // The value may hold a password, so it is not part of the message.
  if (found === undefined || !/^https?:$/.test(found.protocol)) {
    throw invalidArgument(`environment variable ${name} is not the URL of an HTTP proxy`);
  }
  return found;
}

/** True when an entry of NO_PROXY names the host: `*`, an address, a network, `example.org`, `.example.org`, each with `:port` if need be. */
export function isExempt(url: URL, noProxy: string): boolean {
  const hostname = url.hostname.toLowerCase().replace(/^\[(.*)\]$/, '$1');
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return noProxy
    .split(/[,\s]+/)
    .filter((entry) => entry !== '')
    .some((entry) => entry === '*' || matches(entry.toLowerCase(), hostname, port));
}

function matches(entry: string, hostname: string, port: string): boolean {
  if (entry.includes('/')) return inNetwork(entry, hostname);
  const bracketed = /^\[([0-9a-f:]+)\](?::(\d+))?$/.exec(entry);
  const plain = isIP(entry) === 6 ? [entry, entry] : /^([^:]+)(?::(\d+))?$/.exec(entry);
  const [, name = '', onlyPort] = bracketed ?? plain ?? [];
  if (name === '' || (onlyPort !== undefined && onlyPort !== port)) return false;
  if (isIP(name) !== 0 || isIP(hostname) !== 0) return name === hostname;
  const domain = name.replace(/^\*?\./, '.');
  return domain.startsWith('.') ? hostname.endsWith(domain) : hostname === domain || hostname.endsWith(`.${domain}`);
}

function inNetwork(entry: string, hostname: string): boolean {
  const [network = '', bits = ''] = entry.split('/');
  const family = isIP(network);
  const length = /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
  if (family === 0 || isIP(hostname) !== family || !(length <= (family === 4 ? 32 : 128))) return false;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(network, length, type);
  return list.check(hostname, type);
}
