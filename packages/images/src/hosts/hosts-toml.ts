/**
 * containerd's `hosts.toml`: who serves a registry's names.
 *
 *     server = "https://registry.example"       the registry itself; tried last
 *     [host."https://mirror.example"]           tried in the order of the file
 *       capabilities = ["pull", "resolve"]      pull, resolve, push, referrers; absent: all
 *       ca = ["ca.pem"]                         relative to the file
 *       client = [["client.cert", "client.key"]]
 *       skip_verify = false
 *       override_path = false                   true: the URL's path is the whole API root, no /v2 is added
 *       dial_timeout = "5s"
 *       [host."https://mirror.example".header]
 *         x-custom = "value"
 *
 * The top level takes the same keys for `server`. Parsing does not touch files: those named are read by the caller.
 */
import { invalidArgument, messageOf } from '@gantry/errors';
import { parse } from 'smol-toml';
import { isLoopback } from '../http/http.ts';
import { isObject } from '@gantry/credentials/json';
import type { JsonObject } from '@gantry/credentials/json';
import { allCapabilities, hostCapabilities } from './registry-host.ts';
import type { HostCapability } from './registry-host.ts';

/** A host as the file describes it. */
export interface HostEntry {
  readonly api: URL;
  readonly capabilities: ReadonlySet<HostCapability>;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** Files of PEM certificates. */
  readonly ca: readonly string[];
  /** Files; without a key the certificate's file holds it as well. */
  readonly client: readonly { readonly certificate: string; readonly key: string }[];
  readonly skipVerify: boolean;
  readonly dialTimeoutMs: number | undefined;
}

const maximumBytes = 1024 * 1024;
const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** Headers that only we can get right. */
const ownHeaders: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding', 'connection']);

/**
 * The hosts in the order of the file, the server last; `defaultServer` is used when the file names none.
 * Throws invalid argument naming the file and the key.
 */
export function parseHostsToml(text: string, file: string, defaultServer: string): HostEntry[] {
  if (text.length > maximumBytes) throw invalidArgument(`${file}: larger than ${maximumBytes} bytes`);
  let document: unknown;
  try {
    document = parse(text);
  } catch (err) {
    throw invalidArgument(`${file}: ${messageOf(err).split('\n')[0] ?? ''}`, {}, err);
  }
  if (!isObject(document)) throw invalidArgument(`${file}: not a table`);
  const hosts = document['host'] ?? {};
  if (!isObject(hosts)) throw refuse(file, 'host', 'must be a table of hosts');
  const entries = Object.entries(hosts).map(([url, table]) => {
    const key = `host.${JSON.stringify(url)}`;
    if (!isObject(table)) throw refuse(file, key, 'must be a table');
    return hostEntry(table, url, file, key);
  });
  const server = document['server'] ?? defaultServer;
  if (typeof server !== 'string') throw refuse(file, 'server', 'must be a URL');
  return [...entries, hostEntry(document, server, file, 'server')];
}

function hostEntry(table: JsonObject, url: string, file: string, key: string): HostEntry {
  const at = (name: string): string => (key === 'server' ? name : `${key}.${name}`);
  const flag = (name: string): boolean => {
    const value = table[name] ?? false;
    if (typeof value !== 'boolean') throw refuse(file, at(name), 'must be true or false');
    return value;
  };
  return {
    api: apiRoot(url, flag('override_path'), file, key),
    capabilities: capabilities(table['capabilities'], file, at('capabilities')),
    headers: headers(table['header'], file, at('header')),
    ca: texts(table['ca'], file, at('ca')),
    client: clients(table['client'], file, at('client')),
    skipVerify: flag('skip_verify'),
    dialTimeoutMs: duration(table['dial_timeout'], file, at('dial_timeout')),
  };
}

/** Without a scheme it is https, on this machine http. */
function apiRoot(text: string, overridePath: boolean, file: string, key: string): URL {
  const bare = `https://${text}`;
  const scheme = URL.canParse(bare) && isLoopback(new URL(bare).hostname) ? 'http' : 'https';
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `${scheme}://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw refuse(file, key, 'must be an http or https URL');
  }
  if (url.username !== '' || url.password !== '') throw refuse(file, key, 'must not hold credentials');
  const path = url.pathname.replace(/\/+$/, '');
  return new URL(`${url.origin}${overridePath || path.endsWith('/v2') ? path : `${path}/v2`}`);
}

function capabilities(value: unknown, file: string, key: string): ReadonlySet<HostCapability> {
  if (value === undefined) return allCapabilities;
  const known: readonly string[] = hostCapabilities;
  const isCapability = (name: string): name is HostCapability => known.includes(name);
  return new Set(
    texts(value, file, key).map((name) => {
      if (!isCapability(name)) throw refuse(file, key, `${JSON.stringify(name)} is none of ${known.join(', ')}`);
      return name;
    }),
  );
}

function headers(value: unknown, file: string, key: string): Record<string, readonly string[]> {
  if (value === undefined) return {};
  if (!isObject(value)) throw refuse(file, key, 'must be a table');
  const entries = Object.entries(value).map(([name, content]): [string, readonly string[]] => {
    const lower = name.toLowerCase();
    if (!headerName.test(name) || ownHeaders.has(lower))
      throw refuse(file, `${key}.${name}`, 'is not a header that can be set');
    const values = texts(content, file, `${key}.${name}`);
    if (values.some((text) => /[\r\n\0]/.test(text))) throw refuse(file, `${key}.${name}`, 'must be one line');
    return [lower, values];
  });
  return Object.fromEntries(entries);
}

/** Text or a list of it. */
function texts(value: unknown, file: string, key: string): string[] {
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((item) => {
    if (typeof item !== 'string') throw refuse(file, key, 'must be text or a list of texts');
    return item;
  });
}

/** One file, a list of files, or a list of [certificate, key]. */
function clients(value: unknown, file: string, key: string): { certificate: string; key: string }[] {
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((item) => {
    const [certificate, own, ...rest] = texts(item, file, key);
    if (certificate === undefined || rest.length > 0) throw refuse(file, key, 'must be files or pairs of files');
    return { certificate, key: own === undefined || own === '' ? certificate : own };
  });
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function duration(value: unknown, file: string, key: string): number | undefined {
  if (value === undefined) return undefined;
  const text = typeof value === 'string' ? value : '';
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const isWhole = parts.length > 0 && parts.map(([part]) => part).join('') === text;
  const ms = parts.reduce((sum, [, number = '0', unit = '']) => sum + Number(number) * (unitsMs[unit] ?? 0), 0);
  if (!isWhole || ms <= 0) throw refuse(file, key, 'must be a duration such as "30s"');
  return Math.round(ms);
}

function refuse(file: string, key: string, reason: string): Error {
  return invalidArgument(`${file}: ${key}: ${reason}`);
}
