/** Bringing a manifest or an index into a repository. */
import { dataLoss, invalidArgument, resourceExhausted } from '@gantry/errors';
import { digestOf, isIndexType, isManifestType, parseIndex, parseManifest, verifyDigest } from '@gantry/oci';
import type { Descriptor, Digest } from '@gantry/oci';
import { repositoryScope } from '../auth/scope.ts';
import { bytesBody } from '../auth/token.ts';
import { manifestLimitBytes } from './limits.ts';
import { pushTurn } from './push-source.ts';
import type { PushOptions, PushOutcome } from './push-source.ts';
import { addReferrer } from './referrers.ts';
import type { Repository } from './repository.ts';
import { hasContent } from './resolve.ts';

/** See `Pusher.pushManifest`. Throws data loss when the registry stored another digest. */
export async function pushManifest(
  repository: Repository,
  descriptor: Descriptor,
  bytes: Uint8Array,
  options: PushOptions & { readonly tag?: string | undefined },
): Promise<PushOutcome> {
  const { domain, path } = repository.reference;
  const { digest, mediaType } = descriptor;
  const { tag, signal } = options;
  const name = tag ?? digest;
  const doing = `pushing manifest ${digest} to ${domain}/${path}${tag === undefined ? '' : `:${tag}`}`;
  if (bytes.length > manifestLimitBytes) throw resourceExhausted(`${doing}: larger than ${manifestLimitBytes} bytes`);
  if (!verifyDigest(digest, bytes)) throw dataLoss(`${doing}: the stored content has digest ${digestOf(bytes)}`);
  const turn = pushTurn(repository);
  const scopes = [repositoryScope(path, 'push')];
  const there = await hasContent(repository, turn, { kind: 'manifests', name, scopes }, signal);
  if (there.found && (tag === undefined || there.digest === digest)) return 'exists';
  const response = await turn.host.expect([200, 201], {
    method: 'PUT',
    target: `manifests/${name}`,
    headers: { 'content-type': mediaType },
    body: bytesBody(bytes),
    scopes,
    doing,
    signal,
  });
  await response.discard();
  const stored = response.header('docker-content-digest');
  if (stored !== undefined && stored !== digest) {
    throw dataLoss(`${doing}: ${turn.host.name} says it stored ${stored.slice(0, 200)}`);
  }
  const subject = subjectOf(bytes, mediaType);
  // A registry that knows referrers says so in its answer; for others there is a tag to be kept.
  if (subject !== undefined && response.header('oci-subject') === undefined) {
    await addReferrer(repository, turn.host, { subject, referrer: descriptor, bytes }, signal);
  }
  return 'pushed';
}

/** By the digest; see `Pusher.hasManifest`. */
export async function hasManifest(repository: Repository, digest: Digest, signal?: AbortSignal): Promise<boolean> {
  const scopes = [repositoryScope(repository.reference.path, 'push')];
  const there = await hasContent(repository, pushTurn(repository), { kind: 'manifests', name: digest, scopes }, signal);
  return there.found;
}

function subjectOf(bytes: Uint8Array, mediaType: string): Descriptor | undefined {
  if (isIndexType(mediaType)) return parseIndex(bytes, mediaType).subject;
  if (isManifestType(mediaType)) return parseManifest(bytes, mediaType).subject;
  throw invalidArgument(`${JSON.stringify(mediaType.slice(0, 200))} is not the type of a manifest`);
}
