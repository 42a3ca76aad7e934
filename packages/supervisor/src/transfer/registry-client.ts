/** A registry client for one request: where its hosts are, what is sent with each call, who answers for the user. */
import type { transferTypes } from '@gantry/api';
import type { CredentialSource } from '@gantry/credentials';
import { hostDirectories, Registry } from '@gantry/images';
import type { HostSource } from '@gantry/images';
import { authStream } from './auth-stream.ts';
import type { TransferTools } from './transfers.ts';

/** Throws not found when the stream for questions is not there. */
export function registryClient(
  { transport, streams, hostDirectories: defaults, allowForeignLayers }: TransferTools,
  namespace: string,
  { reference, resolver }: transferTypes.OCIRegistry,
): Registry {
  const directories = resolver === undefined || resolver.hostDir === '' ? defaults : resolver.hostDir.split(':');
  const plainHttp = resolver?.defaultScheme === 'http';
  const hosts = hostDirectories({ directories, defaults: { plainHttp } });
  const stream = resolver?.authStream ?? '';
  const credentials: { credentials?: CredentialSource } =
    stream === '' ? {} : { credentials: authStream(streams.take(namespace, stream), reference) };
  return new Registry({
    send: transport.send,
    hosts: withHeaders(hosts, resolver?.headers ?? {}),
    allowForeignLayers,
    ...credentials,
  });
}

/** The same hosts, each sent these headers too. */
function withHeaders(hosts: HostSource, headers: Readonly<Record<string, string>>): HostSource {
  const given = Object.entries(headers).map(([name, value]): [string, string[]] => [name.toLowerCase(), [value]]);
  if (given.length === 0) return hosts;
  return {
    async hostsFor(domain) {
      const found = await hosts.hostsFor(domain);
      return found.map((host) => ({ ...host, headers: { ...host.headers, ...Object.fromEntries(given) } }));
    },
  };
}
