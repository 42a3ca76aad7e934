/**
 * The configuration directories of registry hosts (`certs.d`): one directory a registry, with a `hosts.toml` in it or
 * Docker's certificates (`*.crt`, pairs of `*.cert` and `*.key`). Read anew for each use: no restart is needed.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { failedPrecondition, wrap } from '@gantry/errors';
import { isLoopback } from '../http/http.ts';
import type { TlsSettings } from '../http/http.ts';
import { parseHostsToml } from './hosts-toml.ts';
import type { HostEntry } from './hosts-toml.ts';
import { apiHostOf, defaultHost } from './registry-host.ts';
import type { HostDefaults, HostSource, RegistryHost } from './registry-host.ts';

export interface HostDirectoryOptions {
  /** Looked through in order; those that do not exist are passed over. */
  readonly directories: readonly string[];
  /** For registries without a directory. */
  readonly defaults?: HostDefaults;
}

/**
 * The hosts by what stands in the directories: of `host_port_`, `host:port` and `_default` in the first directory that
 * has one. Errors: invalid argument for a malformed file, failed precondition for a certificate that cannot be read.
 */
export function hostDirectories({ directories, defaults = {} }: HostDirectoryOptions): HostSource {
  return {
    async hostsFor(domain) {
      for (const root of directories) {
        for (const name of directoryNames(domain)) {
          const found = await hostsIn(path.join(root, name), domain, defaults);
          if (found !== undefined) return found;
        }
      }
      return [defaultHost(domain, defaults)];
    },
  };
}

/** A colon cannot be part of a name everywhere, so `host:5000` may also be written `host_5000_`. */
function directoryNames(domain: string): string[] {
  const port = /^(.*):(\d+)$/.exec(domain);
  return [...(port ? [`${port[1]}_${port[2]}_`] : []), domain, '_default'];
}

async function hostsIn(directory: string, domain: string, defaults: HostDefaults): Promise<RegistryHost[] | undefined> {
  const names = await namesIn(directory);
  if (names === undefined) return undefined;
  const fallback = defaultHost(domain, defaults);
  if (!names.includes('hosts.toml')) {
    const tls = await dockerCertificates(directory, names);
    return [tls === undefined ? fallback : { ...fallback, tls: { ...tls }, plainHttpFallback: false }];
  }
  const file = path.join(directory, 'hosts.toml');
  const text = await read(file);
  const entries = parseHostsToml(text, file, `${fallback.api.protocol}//${apiHostOf(domain)}`);
  return Promise.all(entries.map(async (entry) => registryHost(entry, directory, fallback)));
}

async function registryHost(entry: HostEntry, directory: string, fallback: RegistryHost): Promise<RegistryHost> {
  const inDirectory = async (file: string): Promise<string> => read(path.resolve(directory, file));
  const configured = entry.skipVerify || entry.ca.length > 0 || entry.client.length > 0;
  const isDefault = entry.api.href === fallback.api.href;
  const tls: TlsSettings = {
    ca: await Promise.all(entry.ca.map(inDirectory)),
    client: await Promise.all(
      entry.client.map(async ({ certificate, key }) => ({
        certificate: await inDirectory(certificate),
        key: await inDirectory(key),
      })),
    ),
    ...(entry.skipVerify ? { skipVerify: true } : {}),
  };
  return {
    api: entry.api,
    capabilities: entry.capabilities,
    headers: entry.headers,
    tls: configured || !isDefault ? tls : fallback.tls,
    ...(entry.dialTimeoutMs === undefined ? {} : { connectTimeoutMs: entry.dialTimeoutMs }),
    plainHttpFallback: !configured && isDefault && isLoopback(entry.api.hostname) && fallback.plainHttpFallback,
  };
}

/** Docker's own layout. Undefined when there is no certificate. */
async function dockerCertificates(directory: string, names: readonly string[]): Promise<TlsSettings | undefined> {
  const ca = names.filter((name) => name.endsWith('.crt'));
  const certificates = names.filter((name) => name.endsWith('.cert'));
  if (ca.length === 0 && certificates.length === 0) return undefined;
  const client = certificates.map(async (name) => {
    const key = `${name.slice(0, -'.cert'.length)}.key`;
    if (!names.includes(key)) throw failedPrecondition(`${path.join(directory, name)}: there is no ${key} beside it`);
    return { certificate: await read(path.join(directory, name)), key: await read(path.join(directory, key)) };
  });
  return {
    ca: await Promise.all(ca.map(async (name) => read(path.join(directory, name)))),
    client: await Promise.all(client),
  };
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (err) {
    throw wrap(err, 'reading registry configuration', 'failed precondition');
  }
}

/** Undefined when there is no such directory. */
async function namesIn(directory: string): Promise<string[] | undefined> {
  try {
    return (await readdir(directory)).sort();
  } catch (err) {
    if (err instanceof Error && 'code' in err && (err.code === 'ENOENT' || err.code === 'ENOTDIR')) return undefined;
    throw wrap(err, 'reading registry configuration', 'failed precondition');
  }
}
