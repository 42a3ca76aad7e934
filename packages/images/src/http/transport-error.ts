/** What goes wrong below HTTP, as the field's classes and in sentences that say what to do. */
import { cancelled, failedPrecondition, GantryError, messageOf, unavailable } from '@gantry/errors';
import { plainUrl } from './http.ts';
import type { HttpRequest } from './http.ts';

/** Errno and library codes of a certificate that does not convince. */
const untrusted: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'CERT_SIGNATURE_FAILURE',
  'HOSTNAME_MISMATCH',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

const timedOut: ReadonlySet<string> = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);

const notTls: ReadonlySet<string> = new Set([
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_HTTP_REQUEST',
  'EPROTO',
]);

/** The codes of an error and of what caused it; connections tried in parallel are told as one aggregate. */
function codesOf(err: unknown): string[] {
  const codes: string[] = [];
  for (let current = err, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    if ('code' in current && typeof current.code === 'string') codes.push(current.code);
    if (current instanceof AggregateError) codes.push(...current.errors.flatMap(codesOf));
  }
  return codes;
}

/** The innermost sentence, which is the one that says something. */
function reasonOf(err: unknown): string {
  if (err instanceof AggregateError && err.message === '') return err.errors.map(messageOf).join('; ');
  return err instanceof Error && err.cause instanceof Error ? reasonOf(err.cause) : messageOf(err);
}

/**
 * Translates what the transport threw. A failure that a plain HTTP server explains has `plainHttp` in its details; one
 * that trying again does not mend is a failed precondition.
 */
export function transportError(
  err: unknown,
  { method, url, signal }: Pick<HttpRequest, 'method' | 'url' | 'signal'>,
): GantryError {
  if (err instanceof GantryError) return err;
  const doing = `${method} ${plainUrl(url)}`;
  if (signal?.aborted === true) return cancelled(doing, {}, err);
  const codes = codesOf(err);
  const has = (known: ReadonlySet<string>): boolean => codes.some((code) => known.has(code));
  if (has(untrusted)) {
    return failedPrecondition(
      `${doing}: the certificate of ${url.host} is not trusted (${reasonOf(err)}): name its CA in the host's hosts.toml (ca = "…") or add it to the system's certificates`,
      { host: url.host },
      err,
    );
  }
  if (has(notTls) && url.protocol === 'https:') {
    return failedPrecondition(
      `${doing}: ${url.host} does not speak TLS: when it is a plain HTTP registry, say so in its hosts.toml (server = "http://${url.host}")`,
      { host: url.host, plainHttp: true },
      err,
    );
  }
  const [code = ''] = codes;
  const reason = has(timedOut)
    ? 'no answer in time'
    : codes.includes('ENOTFOUND')
      ? `there is no host ${url.hostname}`
      : codes.includes('EAI_AGAIN')
        ? `the name ${url.hostname} cannot be looked up at the moment`
        : reasonOf(err);
  return unavailable(`${doing}: ${reason}`, { host: url.host, errno: code }, err);
}
