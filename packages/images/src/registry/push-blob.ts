/**
 * Bringing a blob into a repository: there already, mounted from another, or sent. A broken upload goes on where the
 * registry says it ended; when it does not say, from the start.
 */
import { codeOf, dataLoss, failedPrecondition, GantryError, invalidArgument } from '@gantry/errors';
import type { Descriptor } from '@gantry/oci';
import { mergeScopes, repositoryScope } from '../auth/scope.ts';
import type { HttpBody, HttpResponse } from '../http/http.ts';
import { refuseDowngrade } from '../http/redirect.ts';
import { backoffMs, isTransient, pause } from '../http/retry.ts';
import type { RetryPolicy } from '../http/retry.ts';
import type { HostClient } from './host-client.ts';
import { pushTurn } from './push-source.ts';
import type { PushOptions, PushOutcome, PushSource } from './push-source.ts';
import type { Repository } from './repository.ts';
import { hasContent } from './resolve.ts';

/** Deadline of telling a registry that an upload is given up. */
const cancelMs = 5_000;

/** Answers after which an upload can only begin again: it is unknown, out of step, or what arrived was not what was sent. */
const lostStatuses: ReadonlySet<number> = new Set([400, 404, 416]);

/** A session of an upload: where it goes on, and how many bytes the registry has. */
interface Session {
  readonly location: URL;
  readonly offset: number;
}

interface Upload {
  readonly host: HostClient;
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly source: PushSource;
  readonly options: PushOptions;
  readonly scopes: readonly string[];
  readonly doing: string;
}

/** Errors: unauthenticated, permission denied, data loss (the registry holds another digest), unavailable. */
export async function pushBlob(
  { repository, retry }: { readonly repository: Repository; readonly retry: RetryPolicy },
  descriptor: Descriptor,
  source: PushSource,
  options: PushOptions,
): Promise<PushOutcome> {
  const turn = pushTurn(repository);
  const { domain, path } = repository.reference;
  const scopes = [repositoryScope(path, 'push')];
  const doing = `pushing ${descriptor.digest} to ${domain}/${path}`;
  const upload: Upload = { host: turn.host, repository, descriptor, source, options, scopes, doing };
  const there = await hasContent(repository, turn, { kind: 'blobs', name: descriptor.digest, scopes }, options.signal);
  if (there.found) return 'exists';
  const mounted = await mount(upload);
  if (mounted === 'mounted') return 'mounted';
  await send(upload, mounted, retry);
  return 'pushed';
}

/** A session, when the registry opened one instead of mounting; undefined when nothing could be tried. */
async function mount(upload: Upload): Promise<'mounted' | Session | undefined> {
  const { host, repository, descriptor, options, doing } = upload;
  const from = nearest(repository.reference.path, options.mountFrom ?? []);
  if (from === undefined) return undefined;
  try {
    const response = await host.request({
      method: 'POST',
      target: 'blobs/uploads/',
      query: { mount: descriptor.digest, from },
      headers: { 'content-length': '0' },
      scopes: mergeScopes(upload.scopes, [repositoryScope(from, 'pull')]),
      doing,
      signal: options.signal,
    });
    await response.discard();
    if (response.status === 201) return 'mounted';
    return response.status === 202 ? sessionOf(upload, response, 0) : undefined;
  } catch (err) {
    // Not being allowed to read the other repository is no reason not to send the blob.
    if (codeOf(err) === 'unauthenticated' || codeOf(err) === 'permission denied') return undefined;
    throw err;
  }
}

/** The repository that shares most of its path with the target, other than the target itself. */
function nearest(path: string, candidates: readonly string[]): string | undefined {
  const own = path.split('/');
  const shared = (candidate: string): number => {
    const parts = candidate.split('/');
    const end = own.findIndex((part, index) => part !== parts[index]);
    return end === -1 ? own.length : end;
  };
  return candidates
    .filter((candidate) => candidate !== path && candidate !== '')
    .sort((a, b) => shared(b) - shared(a) || a.localeCompare(b))[0];
}

async function send(upload: Upload, opened: Session | undefined, retry: RetryPolicy): Promise<void> {
  let session = opened;
  let furthest = 0;
  for (let failures = 0; ;) {
    try {
      session ??= await open(upload);
      for (let next = await sendPiece(upload, session); next !== undefined; next = await sendPiece(upload, session)) {
        session = next;
      }
      await finish(upload, session);
      return;
    } catch (err) {
      const lost = err instanceof GantryError && lostStatuses.has(Number(err.details['status']));
      const reached: number = session?.offset ?? 0;
      failures = reached > furthest ? 1 : failures + 1;
      furthest = Math.max(furthest, reached);
      if ((!lost && !isTransient(err)) || failures >= retry.attempts) {
        await cancel(upload, session);
        throw err;
      }
      await pause(backoffMs(retry, failures), upload.options.signal);
      session = lost ? undefined : await whereItEnded(upload, session);
    }
  }
}

async function open(upload: Upload): Promise<Session> {
  const { host, scopes, doing, options } = upload;
  const response = await host.expect([202], {
    method: 'POST',
    target: 'blobs/uploads/',
    headers: { 'content-length': '0' },
    scopes,
    doing,
    signal: options.signal,
  });
  await response.discard();
  return sessionOf(upload, response, 0);
}

/** Sends the next piece. Undefined: the rest, which may be everything, goes with the last request. */
async function sendPiece(upload: Upload, session: Session): Promise<Session | undefined> {
  const { location, offset } = session;
  const { size } = upload.descriptor;
  const { chunkBytes } = upload.options;
  if (chunkBytes !== undefined && !(chunkBytes >= 1)) throw invalidArgument('chunk size must be at least 1');
  const isWhole = chunkBytes === undefined && offset === 0;
  if (isWhole || offset === size) return undefined;
  const end = Math.min(size, offset + (chunkBytes ?? size));
  const response = await upload.host.expect([202], {
    method: 'PATCH',
    target: location,
    headers: { 'content-type': 'application/octet-stream', 'content-range': `${offset}-${end - 1}` },
    body: bodyOf(upload, offset, end),
    scopes: upload.scopes,
    doing: upload.doing,
    signal: upload.options.signal,
    retry: false,
  });
  await response.discard();
  const reached = rangeEnd(response) ?? end;
  if (reached !== end) {
    const said = `${upload.host.name} has ${reached} bytes after ${end} were sent`;
    throw failedPrecondition(`${upload.doing}: ${said}`, { status: 416 });
  }
  return sessionOf(upload, response, end);
}

/** Closes the upload under its digest, with what was not sent yet. */
async function finish(upload: Upload, { location, offset }: Session): Promise<void> {
  const { host, descriptor, scopes, doing, options } = upload;
  const target = new URL(location);
  target.searchParams.set('digest', descriptor.digest);
  const response = await host.expect([201, 204], {
    method: 'PUT',
    target,
    headers: { 'content-type': 'application/octet-stream' },
    body: bodyOf(upload, offset, descriptor.size),
    scopes,
    doing,
    signal: options.signal,
    retry: false,
  });
  await response.discard();
  const stored = response.header('docker-content-digest');
  if (stored !== undefined && stored !== descriptor.digest) {
    throw dataLoss(`${doing}: ${host.name} says it stored ${stored.slice(0, 200)}`);
  }
  options.onProgress?.(descriptor.size);
}

/** Asks the registry how much of a broken upload it has. Undefined: begin again. */
async function whereItEnded(upload: Upload, session: Session | undefined): Promise<Session | undefined> {
  if (session === undefined) return undefined;
  try {
    const response = await upload.host.request({
      method: 'GET',
      target: session.location,
      scopes: upload.scopes,
      doing: upload.doing,
      signal: upload.options.signal,
    });
    await response.discard();
    const offset = response.status === 204 || response.status === 200 ? rangeEnd(response) : undefined;
    return offset === undefined || offset > upload.descriptor.size
      ? undefined
      : sessionOf(upload, response, offset, session);
  } catch (err) {
    if (codeOf(err) === 'cancelled') throw err;
    return undefined;
  }
}

/** How many bytes `Range: 0-<last>` stands for. `0-0` is what registries say of no byte and of one, so it says nothing. */
function rangeEnd(response: HttpResponse): number | undefined {
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(response.header('range')?.trim() ?? '')?.[1];
  return last === undefined || last === '0' ? undefined : Number(last) + 1;
}

/** Where the upload goes on: Location may be relative, and may be another host. */
function sessionOf(upload: Upload, response: HttpResponse, offset: number, before?: Session): Session {
  const text = response.header('location');
  if (text === undefined && before !== undefined) return { location: before.location, offset };
  if (text === undefined || !URL.canParse(text, response.url.href)) {
    throw invalidArgument(`${upload.doing}: ${upload.host.name} does not say where the upload goes on`);
  }
  const location = new URL(text, response.url);
  refuseDowngrade(response.url, location);
  return { location, offset };
}

function bodyOf({ source, options }: Upload, start: number, end: number): HttpBody {
  return {
    sizeBytes: end - start,
    async *open() {
      let position = start;
      if (position === end) return;
      for await (const piece of source.read(start)) {
        const wanted = piece.subarray(0, end - position);
        yield wanted;
        position += wanted.length;
        options.onProgress?.(position);
        if (position >= end) return;
      }
    },
  };
}

/** Uploads that end in an error do not stay in the registry until it cleans up. */
async function cancel({ host, scopes, doing }: Upload, session: Session | undefined): Promise<void> {
  if (session === undefined) return;
  try {
    const signal = AbortSignal.timeout(cancelMs);
    const response = await host.request({
      method: 'DELETE',
      target: session.location,
      scopes,
      doing,
      signal,
      retry: false,
    });
    await response.discard();
  } catch {
    // The registry removes it in time.
  }
}
