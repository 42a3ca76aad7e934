/** Getting content by its descriptor, from any offset. What comes is not verified here: whoever stores it does. */
import { dataLoss, failedPrecondition, notFound, unavailable } from '@gantry/errors';
import { isIndexType, isManifestType, layerMediaType } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { repositoryScope } from '../auth/scope.ts';
import { isEncoded, plainUrl } from '../http/http.ts';
import type { HttpResponse, Send } from '../http/http.ts';
import { sendRetrying } from '../http/send-retrying.ts';
import type { RetryPolicy } from '../http/retry.ts';
import { registryError } from './registry-error.ts';
import { manifestAccept } from './resolve.ts';
import { askHosts } from './repository.ts';
import type { Repository, Turn } from './repository.ts';

export interface FetchOptions {
  /** Bytes that are there already. */
  readonly offset?: number;
  readonly signal?: AbortSignal | undefined;
  /** Hosts that sent wrong content; asked only when there is no other. */
  readonly avoid?: ReadonlySet<string>;
}

/** Content on its way. Read the body to its end or discard it. */
export interface Fetched {
  /** Who sends it. */
  readonly host: string;
  /** From the offset on; may break off with unavailable, and may be longer or shorter than the descriptor says. */
  readonly body: AsyncIterable<Uint8Array>;
  discard(): Promise<void>;
}

/** For layers that no registry holds. */
export interface ForeignSource {
  readonly send: Send;
  readonly retry: RetryPolicy;
}

/** Not found when no host has it. */
export async function fetchContent(
  repository: Repository,
  descriptor: Descriptor,
  options: FetchOptions,
  foreign: ForeignSource | undefined,
): Promise<Fetched> {
  const isForeign = layerMediaType(descriptor.mediaType)?.distributable === false && (descriptor.urls ?? []).length > 0;
  try {
    return await askHosts(
      repository,
      'pull',
      async (turn) => fetchAt(repository, turn, descriptor, options),
      options.avoid,
    );
  } catch (err) {
    // Registries may well hold such layers, so they are asked first.
    if (!isForeign) throw err;
    return fetchForeign(descriptor, options, foreign);
  }
}

async function fetchAt(
  { reference }: Repository,
  { host, retry }: Turn,
  descriptor: Descriptor,
  { offset = 0, signal }: FetchOptions,
): Promise<Fetched> {
  const { mediaType, digest } = descriptor;
  const isManifest = isManifestType(mediaType) || isIndexType(mediaType);
  const doing = `fetching ${digest} of ${reference.domain}/${reference.path}`;
  const ask = async (from: number): Promise<HttpResponse> =>
    host.request({
      method: 'GET',
      target: `${isManifest ? 'manifests' : 'blobs'}/${digest}`,
      headers: {
        ...(isManifest ? { accept: manifestAccept } : {}),
        ...(from > 0 ? { range: `bytes=${from}-` } : {}),
      },
      scopes: [repositoryScope(reference.path, 'pull')],
      doing,
      signal,
      retry,
    });
  let response = await ask(offset);
  if (response.status === 206 && isEncoded(response)) {
    // A range of something else than what is stored: only the whole is of use.
    await response.discard();
    response = await ask(0);
  }
  return fromOffset(response, offset, host.name, doing);
}

/** `urls` come from the image: they get no credentials, and are asked only when that was allowed. */
async function fetchForeign(
  { urls = [], digest }: Descriptor,
  { offset = 0, signal }: FetchOptions,
  foreign: ForeignSource | undefined,
): Promise<Fetched> {
  const addresses = urls
    .filter((text) => URL.canParse(text))
    .map((text) => new URL(text))
    .filter(({ protocol }) => protocol === 'https:' || protocol === 'http:');
  const [first] = addresses;
  if (first === undefined) throw notFound(`layer ${digest}: no registry has it`);
  if (foreign === undefined) {
    throw failedPrecondition(
      `layer ${digest} is not in the registry but at ${plainUrl(first)}: fetching from such addresses is switched off (registry.foreign_layers)`,
    );
  }
  const headers = offset > 0 ? { range: `bytes=${offset}-` } : {};
  let failure: unknown;
  for (const url of addresses) {
    try {
      const response = await sendRetrying(foreign.send, { method: 'GET', url, headers, signal }, foreign.retry);
      return await fromOffset(response, offset, url.host, `fetching ${digest}`);
    } catch (err) {
      failure ??= err;
    }
  }
  throw failure;
}

/** Brings an answer to the offset: servers may ignore a range, or start before it. */
async function fromOffset(response: HttpResponse, offset: number, host: string, doing: string): Promise<Fetched> {
  const { status } = response;
  if (status === 416) {
    await response.discard();
    throw dataLoss(`${doing}: ${host} has no bytes from ${offset} on`, { host, status });
  }
  if (status !== 200 && status !== 206) throw await registryError(response, doing);
  const start = status === 206 ? rangeStart(response.header('content-range')) : 0;
  if (start === undefined || start > offset) {
    await response.discard();
    throw unavailable(`${doing}: ${host} sent another range than asked for`, { host, permanent: true });
  }
  return { host, body: without(response.body, offset - start), discard: async () => response.discard() };
}

function rangeStart(header: string | undefined): number | undefined {
  const start = /^bytes (\d{1,15})-/.exec(header?.trim() ?? '')?.[1];
  return start === undefined ? undefined : Number(start);
}

async function* without(body: AsyncIterable<Uint8Array>, skip: number): AsyncGenerator<Uint8Array> {
  let left = skip;
  for await (const piece of body) {
    if (left >= piece.length) left -= piece.length;
    else {
      yield left === 0 ? piece : piece.subarray(left);
      left = 0;
    }
  }
}
