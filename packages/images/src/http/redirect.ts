/**
 * Following redirects without giving anything away: what identifies us (Authorization, configured headers, client
 * certificates) goes to the origin that was asked and to no other, not even when a chain comes back to it, and never
 * from https to http (CVE-2020-15157 and its kin).
 */
import { failedPrecondition, unavailable } from '@gantry/errors';
import { plainUrl, sameOrigin } from './http.ts';
import type { HttpRequest, HttpResponse, Send } from './http.ts';

export const maximumRedirects = 10;

const redirections: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Headers that mean the same to everybody; all others stay with the first origin. */
const harmless: ReadonlySet<string> = new Set(['accept', 'range', 'content-type', 'content-range']);

/**
 * Sends and follows. Requests with a body are followed within their origin only (307, 308); other redirects of them are
 * given back as they are. Throws failed precondition for a downgrade to http, unavailable for too many.
 */
export async function sendFollowing(send: Send, first: HttpRequest): Promise<HttpResponse> {
  let request = first;
  for (let followed = 0; ; followed++) {
    const response = await send(request);
    const next = redirections.has(response.status) ? nextRequest(request, response) : undefined;
    if (next === undefined) return response;
    await response.discard();
    if (followed === maximumRedirects) {
      throw unavailable(`${first.method} ${plainUrl(first.url)}: more than ${maximumRedirects} redirects`, {
        permanent: true,
      });
    }
    request = next;
  }
}

function nextRequest(request: HttpRequest, response: HttpResponse): HttpRequest | undefined {
  const location = response.header('location');
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  if (location === undefined || !URL.canParse(location, request.url.href)) return undefined;
  const url = new URL(location, request.url);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return undefined;
  if (!isRead && (response.status < 307 || !sameOrigin(url, request.url))) return undefined;
  refuseDowngrade(request.url, url);
  return sameOrigin(url, request.url) ? { ...request, url } : { ...stripped(request), url };
}

/** The request as it may go to another origin. */
export function stripped(request: HttpRequest): HttpRequest {
  const headers = Object.entries(request.headers ?? {}).filter(([name]) => harmless.has(name));
  const { client: _, ...tls } = request.tls ?? {};
  return { ...request, headers: Object.fromEntries(headers), tls };
}

/** Throws failed precondition when what was asked for in secret would be had in the open. */
export function refuseDowngrade(from: URL, to: URL): void {
  if (from.protocol !== 'https:' || to.protocol === 'https:') return;
  throw failedPrecondition(
    `${from.host} sends us from https to ${plainUrl(to)}: refused; a registry behind a TLS proxy must be told so (X-Forwarded-Proto, or relative URLs in its configuration)`,
    { host: from.host },
  );
}
