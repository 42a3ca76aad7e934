/** Registries as ends of a transfer: the server talks to them, the client knows who the user is. */
import { packAny, transferTypes, unpackAny } from '@gantry/api';
import type { types, wellKnown } from '@gantry/api';
import { hostPlatform, normalizeReference } from '@gantry/oci';
import type { Platform } from '@gantry/oci';
import type { Transport } from '../transport/transport.ts';
import { eachMessage, TransferStream } from './streams.ts';
import { runTransfer, transferEnd } from './transfer.ts';
import type { TransferOptions } from './transfer.ts';

/** What to show to a registry. */
export type RegistryCredentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity token'; readonly token: string }
  | { readonly kind: 'header'; readonly value: string };

/** Asked once a host wants to see something; undefined: go without. */
export type CredentialsFor = (host: string, reference: string) => Promise<RegistryCredentials | undefined>;

export interface RegistryOptions extends TransferOptions {
  readonly credentials?: CredentialsFor | undefined;
  /** Directory with `hosts.toml` files on the server's side; the server's own when absent. */
  readonly hostsDir?: string | undefined;
  readonly plainHttp?: boolean | undefined;
  /** Sent with every request to the registry. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface PullOptions extends RegistryOptions {
  /** Default: this host's. */
  readonly platforms?: readonly Platform[] | 'all' | undefined;
  /** Default true: the image can be run at once. */
  readonly unpack?: boolean | undefined;
  readonly snapshotter?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export interface PushOptions extends RegistryOptions {
  /** Only the image of this platform, under the name of the index. */
  readonly platform?: Platform | undefined;
}

/** Pulls a reference, given in full or familiar; resolves to the full name that the image now has. */
export async function pullImage(transport: Transport, reference: string, options: PullOptions): Promise<string> {
  const name = normalizeReference(reference);
  const { platforms = [hostPlatform()], unpack = true, snapshotter = '', labels = {} } = options;
  const unpacked = platforms === 'all' ? [hostPlatform()] : platforms;
  const store = transferEnd(transferTypes.ImageStore, {
    name,
    labels: { ...labels },
    platforms: platforms === 'all' ? [] : platforms.map(wirePlatform),
    unpacks: unpack ? unpacked.map((platform) => ({ platform: wirePlatform(platform), snapshotter })) : [],
  });
  await withRegistry(transport, name, options, (registry, call) => runTransfer(transport, registry, store, call));
  return name;
}

/** Pushes the image `source` as `reference`, both in full. */
export async function pushImage(
  transport: Transport,
  source: string,
  reference: string,
  options: PushOptions,
): Promise<void> {
  const { platform } = options;
  const store = transferEnd(transferTypes.ImageStore, {
    name: source,
    platforms: platform === undefined ? [] : [wirePlatform(platform)],
  });
  await withRegistry(transport, reference, options, (registry, call) => runTransfer(transport, store, registry, call));
}

/**
 * Answers the server's questions for credentials while `use` runs. Credentials that cannot be had end it: going on as nobody
 * would end in a misleading refusal.
 */
async function withRegistry(
  transport: Transport,
  reference: string,
  options: RegistryOptions,
  use: (registry: wellKnown.Any, call: TransferOptions) => Promise<void>,
): Promise<void> {
  const { credentials, hostsDir = '', plainHttp = false, headers = {} } = options;
  const questions = credentials && (await TransferStream.open(transport, 'auth', options));
  const unanswered = new AbortController();
  const answered =
    questions &&
    credentials &&
    answer(questions, credentials).catch((err: unknown) => {
      unanswered.abort(err);
    });
  const signal = AbortSignal.any([unanswered.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    const resolver = {
      authStream: questions?.id ?? '',
      hostDir: hostsDir,
      defaultScheme: plainHttp ? 'http' : '',
      headers: { ...headers },
    };
    await use(transferEnd(transferTypes.OCIRegistry, { reference, resolver }), { ...options, signal });
  } catch (err) {
    throw unanswered.signal.aborted ? unanswered.signal.reason : err;
  } finally {
    questions?.close();
    await answered;
  }
}

async function answer(questions: TransferStream, credentials: CredentialsFor): Promise<void> {
  await eachMessage(questions, async (message) => {
    const { host, reference } = unpackAny(transferTypes.AuthRequest, message);
    const found = await credentials(host, reference);
    await questions.send(packAny(transferTypes.AuthResponse, wireCredentials(found)));
  });
}

function wireCredentials(found: RegistryCredentials | undefined): Partial<transferTypes.AuthResponse> {
  switch (found?.kind) {
    case undefined:
      return { authType: transferTypes.AuthType.NONE };
    case 'password':
      return { authType: transferTypes.AuthType.CREDENTIALS, username: found.username, secret: found.password };
    case 'identity token':
      return { authType: transferTypes.AuthType.REFRESH, secret: found.token };
    case 'header':
      return { authType: transferTypes.AuthType.HEADER, secret: found.value };
  }
}

export function wirePlatform(platform: Platform): types.Platform {
  const { os, architecture, variant = '' } = platform;
  const osFeatures = [...(platform['os.features'] ?? [])];
  return { os, architecture, variant, osVersion: platform['os.version'] ?? '', osFeatures };
}
