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

/** Alerts of a server that wants to see a certificate, or does not like the one it saw. */
const asksWho: ReadonlySet<string> = new Set([
  'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
  'ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE',
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
  'ERR_SSL_TLSV1_ALERT_ACCESS_DENIED',
  'ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN',
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

/** A connection that ended before a byte came: with TLS 1.3 that is all there is to see of an alert. */
function isSilentEnd(err: unknown): boolean {
  if (!(err instanceof Error) || !('socket' in err)) return false;
  const { socket } = err;
  return typeof socket === 'object' && socket !== null && 'bytesRead' in socket && socket.bytesRead === 0;
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
  { method, url, signal, tls = {} }: Pick<HttpRequest, 'method' | 'url' | 'signal' | 'tls'>,
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
  if (has(asksWho)) {
    return failedPrecondition(
      `${doing}: ${url.host} asks for a certificate that it accepts (${reasonOf(err)}): name one in the host's hosts.toml (client = [["FILE.cert", "FILE.key"]])`,
      { host: url.host },
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
  const hint =
    url.protocol === 'https:' && isSilentEnd(err) && (tls.client ?? []).length === 0
      ? `; ${url.host} may want to see a client certificate: name one in its hosts.toml (client = [["FILE.cert", "FILE.key"]])`
      : '';
  return unavailable(`${doing}: ${reason}${hint}`, { host: url.host, errno: code }, err);
}
