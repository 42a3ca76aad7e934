/** What the `start` action of somebody else's shim prints: where it listens, and what it speaks there. */
import { bootstrap } from '@gantry/api';
import { messageOf, notImplemented, unavailable, unknown } from '@gantry/errors';

export interface Bootstrap {
  /** Of the task API: 2 or 3. */
  readonly version: number;
  /** `unix:///path`. */
  readonly address: string;
  readonly protocol: 'ttrpc';
}

/** A unix socket's name has 108 bytes, the last of which ends it. */
const maxPathBytes = 107;

/**
 * Reads any of the three forms there are: a protobuf BootstrapResult (containerd 2.3), JSON (1.7 and later), a bare
 * address (task API 2). Throws not implemented for an API, a protocol or a kind of address that we do not speak, unknown
 * for what is none of them.
 */
export function parseBootstrap(output: Uint8Array): Bootstrap {
  const text = Buffer.from(output).toString('utf8').trim();
  if (text === '') throw unknown('the shim printed no address');
  if (text.startsWith('{')) return checked(fromJson(text));
  if (/^[\w+-]*:\/\/|^\//.test(text)) return checked({ version: 2, address: text, protocol: 'ttrpc' });
  return checked(fromProtobuf(output, text));
}

/**
 * Where a controller in another process says that a sandbox's tasks are: `ttrpc+unix:///path`, or without the protocol. Throws as
 * `parseBootstrap` does, unavailable when it does not say.
 */
export function bootstrapAt(address: string, version: number): Bootstrap {
  if (address === '') throw unavailable('the sandbox does not say where its tasks are');
  const [, protocol = 'ttrpc', rest = ''] = /^(?:([a-z]+)\+)?(.*)$/s.exec(address) ?? [];
  return checked({ version, address: rest, protocol });
}

interface Claimed {
  readonly version: number;
  readonly address: string;
  readonly protocol: string;
}

function fromJson(text: string): Claimed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    throw unknown(`the shim's answer ${JSON.stringify(text.slice(0, 200))}: ${messageOf(err)}`);
  }
  const field = (name: string): unknown => (value as Readonly<Record<string, unknown>> | null)?.[name];
  const [version, address, protocol] = [field('version') ?? 2, field('address'), field('protocol') ?? 'ttrpc'];
  if (typeof version !== 'number' || typeof address !== 'string' || typeof protocol !== 'string')
    throw unknown(`the shim's answer ${JSON.stringify(text.slice(0, 200))} has no version, address and protocol`);
  return { version, address, protocol };
}

function fromProtobuf(output: Uint8Array, text: string): Claimed {
  try {
    const { version, address, protocol } = bootstrap.BootstrapResult.decode(output);
    if (address !== '') return { version, address, protocol: protocol === '' ? 'ttrpc' : protocol };
  } catch {
    // It is text of some other kind, then: an error message, most likely.
  }
  throw unknown(`the shim said ${JSON.stringify(text.slice(0, 500))} and not where it listens`);
}

function checked({ version, address, protocol }: Claimed): Bootstrap {
  if (version !== 2 && version !== 3) throw notImplemented(`shim with version ${version} of the task API`);
  if (protocol !== 'ttrpc') throw notImplemented(`shim that speaks ${JSON.stringify(protocol)}`);
  const file = address.replace(/^unix:\/\//, '');
  // A name without a path is in the abstract name space, which every container with the host's network shares (CVE-2020-15257).
  if (!file.startsWith('/') || file.includes('\0')) throw notImplemented(`shim address ${JSON.stringify(address)}`);
  if (Buffer.byteLength(file) > maxPathBytes) throw notImplemented(`shim address ${JSON.stringify(address)}: too long`);
  return { version, address: `unix://${file}`, protocol };
}
