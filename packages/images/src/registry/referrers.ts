/**
 * What refers to a manifest (distribution specification, "Listing Referrers"): the API, and for registries without it
 * the index under the tag `<algorithm>-<digest>`, which whoever pushes a referrer keeps up to date.
 */
import { aborted, invalidArgument } from '@gantry/errors';
import {
  digestAlgorithm,
  digestEncoded,
  digestOf,
  isIndexType,
  mediaTypes,
  parseIndex,
  parseManifest,
} from '@gantry/oci';
import type { Descriptor, Digest } from '@gantry/oci';
import { repositoryScope } from '../auth/scope.ts';
import { bytesBody } from '../auth/token.ts';
import { sameOrigin } from '../http/http.ts';
import type { HttpResponse } from '../http/http.ts';
import type { HostClient } from './host-client.ts';
import { manifestLimitBytes } from './limits.ts';
import { registryError } from './registry-error.ts';
import { askHosts } from './repository.ts';
import type { Repository, Turn } from './repository.ts';

const maximumPages = 100;
/** Somebody else may change the tag between our reading and writing it; there is no way to write only if unchanged. */
const maximumUpdates = 3;

/** The tag that stands in for the API: characters that a tag cannot have become `-`. */
export function referrersTag(digest: Digest): string {
  const tame = (text: string, length: number): string => text.replaceAll(/[^A-Za-z0-9_.-]/g, '-').slice(0, length);
  return `${tame(digestAlgorithm(digest), 32)}-${tame(digestEncoded(digest), 64)}`;
}

/** Nothing refers to it: an empty list. Filters here what the registry did not filter. */
export async function listReferrers(
  repository: Repository,
  digest: Digest,
  { artifactType, signal }: { readonly artifactType?: string; readonly signal?: AbortSignal | undefined },
): Promise<readonly Descriptor[]> {
  const found = await askHosts(repository, 'referrers', async (turn) => {
    const listed = await byApi(repository, turn, digest, artifactType, signal);
    return listed ?? (await byTag(repository, turn.host, digest, signal)).manifests;
  });
  return artifactType === undefined ? found : found.filter((entry) => entry.artifactType === artifactType);
}

/** Undefined when the registry does not know the API. */
async function byApi(
  { reference }: Repository,
  { host, retry }: Turn,
  digest: Digest,
  artifactType: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Descriptor[] | undefined> {
  const doing = `listing referrers of ${digest} in ${reference.domain}/${reference.path}`;
  const found: Descriptor[] = [];
  let target: string | URL | undefined = `referrers/${digest}`;
  for (let page = 0; target !== undefined; page++) {
    if (page === maximumPages) throw invalidArgument(`${doing}: more than ${maximumPages} pages`);
    const query: Record<string, string> = page === 0 && artifactType !== undefined ? { artifactType } : {};
    const response: HttpResponse = await host.request({
      method: 'GET',
      target,
      query,
      headers: { accept: mediaTypes.index },
      scopes: [repositoryScope(reference.path, 'pull')],
      doing,
      signal,
      retry,
    });
    if (page === 0 && (response.status === 404 || response.status === 405)) {
      await response.discard();
      return undefined;
    }
    if (response.status !== 200) throw await registryError(response, doing);
    found.push(...parseIndex(await response.bytes(manifestLimitBytes, doing)).manifests);
    target = nextPage(response);
  }
  return found;
}

/** `Link: <…>; rel="next"`, within the origin. */
function nextPage(response: HttpResponse): URL | undefined {
  for (const link of response.headers('link')) {
    const target = /<([^>]+)>\s*;[^,]*\brel="?next"?/i.exec(link)?.[1];
    if (target === undefined || !URL.canParse(target, response.url.href)) continue;
    const url = new URL(target, response.url);
    if (sameOrigin(url, response.url)) return url;
  }
  return undefined;
}

/** The index under the tag; `digest` tells whether it changed. */
async function byTag(
  { reference }: Repository,
  host: HostClient,
  digest: Digest,
  signal: AbortSignal | undefined,
): Promise<{ readonly manifests: readonly Descriptor[]; readonly digest: Digest | undefined }> {
  const doing = `reading the referrers tag of ${digest} in ${reference.domain}/${reference.path}`;
  const response = await host.request({
    method: 'GET',
    target: `manifests/${referrersTag(digest)}`,
    headers: { accept: mediaTypes.index },
    scopes: [repositoryScope(reference.path, 'pull')],
    doing,
    signal,
  });
  if (response.status === 404) {
    await response.discard();
    return { manifests: [], digest: undefined };
  }
  if (response.status !== 200) throw await registryError(response, doing);
  const bytes = await response.bytes(manifestLimitBytes, doing);
  return { manifests: parseIndex(bytes).manifests, digest: digestOf(bytes) };
}

/** Enters a referrer into its subject's tag, once. Throws aborted when others keep overwriting it. */
export async function addReferrer(
  repository: Repository,
  host: HostClient,
  {
    subject,
    referrer,
    bytes,
  }: { readonly subject: Descriptor; readonly referrer: Descriptor; readonly bytes: Uint8Array },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { domain, path } = repository.reference;
  const doing = `updating the referrers tag of ${subject.digest} in ${domain}/${path}`;
  for (let update = 0; update < maximumUpdates; update++) {
    const { manifests } = await byTag(repository, host, subject.digest, signal);
    if (manifests.some(({ digest }) => digest === referrer.digest)) return;
    const index = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.index,
        manifests: [...manifests, entryOf(referrer, bytes)],
      }),
    );
    const response = await host.expect([200, 201], {
      method: 'PUT',
      target: `manifests/${referrersTag(subject.digest)}`,
      headers: { 'content-type': mediaTypes.index },
      body: bytesBody(index),
      scopes: [repositoryScope(path, 'push')],
      doing,
      signal,
    });
    await response.discard();
    // Read back: a concurrent writer may have put his index over ours.
    const after = await byTag(repository, host, subject.digest, signal);
    if (after.manifests.some(({ digest }) => digest === referrer.digest)) return;
  }
  throw aborted(`${doing}: others keep overwriting it`);
}

/** The descriptor as the specification wants it: with artifact type and annotations of the document. */
function entryOf({ mediaType, digest, size }: Descriptor, bytes: Uint8Array): Descriptor {
  const document = isIndexType(mediaType) ? parseIndex(bytes, mediaType) : parseManifest(bytes, mediaType);
  const artifactType = document.artifactType ?? ('config' in document ? document.config.mediaType : undefined);
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined || artifactType === '' ? {} : { artifactType }),
    ...(document.annotations === undefined ? {} : { annotations: document.annotations }),
  };
}
