/** From a reference to a descriptor: what the registry has under a tag or a digest. */
import { dataLoss, invalidArgument, notImplemented, resourceExhausted } from '@gantry/errors';
import {
  bareMediaType,
  digestOf,
  formatReference,
  isDigest,
  isIndexType,
  isManifestType,
  mediaTypes,
  verifyDigest,
} from '@gantry/oci';
import type { Descriptor, Digest } from '@gantry/oci';
import { repositoryScope } from '../auth/scope.ts';
import { isEncoded, plainUrl } from '../http/http.ts';
import type { HttpResponse } from '../http/http.ts';
import { parseJsonObject, textOf } from '@gantry/credentials/json';
import { manifestLimitBytes } from './limits.ts';
import { registryError } from './registry-error.ts';
import { askHosts } from './repository.ts';
import type { Repository, Turn } from './repository.ts';

/** What is wanted of a manifest request. */
export const manifestAccept = [
  mediaTypes.dockerManifest,
  mediaTypes.dockerIndex,
  mediaTypes.manifest,
  mediaTypes.index,
  '*/*',
].join(', ');

const schema1Types: ReadonlySet<string> = new Set([
  mediaTypes.dockerSchema1,
  'application/vnd.docker.distribution.manifest.v1+json',
]);

/** The type of content that only its digest is known of. */
export const unknownContentType = 'application/octet-stream';

/**
 * Asks the hosts in turn. A registry's word on size and digest only says what to fetch: the bytes are verified when they
 * come. By digest the result has that digest, whatever a header says. Throws not found, not implemented for Docker's
 * schema 1, resource exhausted for a manifest that is too large.
 */
export async function resolve(repository: Repository, signal?: AbortSignal): Promise<Descriptor> {
  return askHosts(repository, 'resolve', async (turn) => resolveAt(repository, turn, signal));
}

async function resolveAt({ reference }: Repository, { host, retry }: Turn, signal?: AbortSignal): Promise<Descriptor> {
  const { tag, digest, path } = reference;
  const name = digest ?? tag;
  if (name === undefined) throw invalidArgument(`${formatReference(reference)}: a tag or a digest is required`);
  const request = {
    target: `manifests/${name}`,
    headers: { accept: manifestAccept },
    scopes: [repositoryScope(path, 'pull')],
    doing: `resolving ${formatReference(reference)}`,
    signal,
    retry,
  };
  const head = await host.request({ ...request, method: 'HEAD' });
  await head.discard();
  const told = head.status === 200 ? fromHeaders(head, digest) : undefined;
  if (told !== undefined) return checkKind(told, formatReference(reference));
  if (head.status === 404 && digest !== undefined) {
    const blob = await host.request({ ...request, method: 'HEAD', target: `blobs/${digest}` });
    await blob.discard();
    const size = sizeOf(blob);
    if (blob.status === 200 && size !== undefined) return { mediaType: unknownContentType, digest, size };
  }
  if (head.status !== 200 && head.status !== 405) throw await registryError(head, request.doing);
  const get = await host.expect([200], { ...request, method: 'GET' });
  return checkKind(await fromDocument(get, digest, request.doing), formatReference(reference));
}

/** Undefined when the headers do not say everything. */
function fromHeaders(response: HttpResponse, asked: Digest | undefined): Descriptor | undefined {
  const mediaType = bareMediaType(response.header('content-type') ?? '');
  const unsafeDigest = asked ?? response.header('docker-content-digest') ?? '';
  // The length of a compressed form says nothing.
  const size = isEncoded(response) ? undefined : sizeOf(response);
  if (size === undefined || !isDigest(unsafeDigest)) return undefined;
  if (!isManifestType(mediaType) && !isIndexType(mediaType) && !schema1Types.has(mediaType)) return undefined;
  return { mediaType, digest: unsafeDigest, size };
}

function sizeOf(response: HttpResponse): number | undefined {
  const text = response.header('content-length') ?? '';
  return /^\d{1,15}$/.test(text) && Number(text) > 0 ? Number(text) : undefined;
}

/** Reads the manifest itself, for registries that do not say enough in the headers. */
async function fromDocument(response: HttpResponse, asked: Digest | undefined, doing: string): Promise<Descriptor> {
  const bytes = await response.bytes(manifestLimitBytes, `${doing}: the manifest`);
  if (asked !== undefined && !verifyDigest(asked, bytes)) {
    throw dataLoss(`${doing}: ${response.url.host} sent other content (${digestOf(bytes)}) than asked for`);
  }
  const told = bareMediaType(response.header('content-type') ?? '');
  if (told === 'text/html') {
    throw invalidArgument(
      `${doing}: ${plainUrl(response.url)} answers with a web page: is ${response.url.host} a registry?`,
    );
  }
  const isTold = isManifestType(told) || isIndexType(told) || schema1Types.has(told);
  const mediaType = isTold ? told : kindOf(bytes, doing);
  return { mediaType, digest: asked ?? digestOf(bytes), size: bytes.length };
}

/** What a document says it is, when the header does not. */
function kindOf(bytes: Uint8Array, doing: string): string {
  const document = parseJsonObject(bytes, `${doing}: what was sent`);
  const own = textOf(document, 'mediaType');
  if (own !== undefined) return own;
  if (Object.hasOwn(document, 'fsLayers')) return mediaTypes.dockerSchema1;
  return Object.hasOwn(document, 'manifests') ? mediaTypes.index : mediaTypes.manifest;
}

function checkKind(descriptor: Descriptor, name: string): Descriptor {
  if (schema1Types.has(descriptor.mediaType)) {
    throw notImplemented(
      `${name} is in Docker's image format schema 1, which no current tool reads: it has to be built or pushed again in a current format`,
    );
  }
  if (descriptor.size > manifestLimitBytes) {
    throw resourceExhausted(`${name}: its manifest has ${descriptor.size} bytes, more than ${manifestLimitBytes}`);
  }
  return descriptor;
}

/** True when a repository has content of this digest, by a HEAD request at the host. */
export async function hasContent(
  { reference }: Repository,
  { host, retry }: Turn,
  content: { readonly kind: 'manifests' | 'blobs'; readonly name: string; readonly scopes: readonly string[] },
  signal?: AbortSignal,
): Promise<{ readonly found: boolean; readonly digest: string | undefined }> {
  const { kind, name, scopes } = content;
  const doing = `looking for ${name} in ${reference.domain}/${reference.path}`;
  const response = await host.request({
    method: 'HEAD',
    target: `${kind}/${name}`,
    ...(kind === 'manifests' ? { headers: { accept: manifestAccept } } : {}),
    scopes,
    doing,
    signal,
    retry,
  });
  if (response.status === 404) {
    await response.discard();
    return { found: false, digest: undefined };
  }
  if (response.status !== 200) throw await registryError(response, doing);
  await response.discard();
  return { found: true, digest: response.header('docker-content-digest') };
}
