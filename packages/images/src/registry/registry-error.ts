/** What a registry's refusal means, as the field's classes and in sentences that say what to do. */
import { GantryError, notFound, permissionDenied, resourceExhausted, unavailable, unknown } from '@gantry/errors';
import { plainUrl } from '../http/http.ts';
import type { HttpResponse } from '../http/http.ts';
import { isObject, parseJsonObject, textOf } from '@gantry/credentials/json';

const maximumBodyBytes = 16 * 1024;
const maximumTextLength = 300;

/** One entry of the error document of the distribution specification. */
export interface RegistryComplaint {
  readonly code: string;
  readonly message: string;
}

/** A stranger's text, fit for a message: one line, bounded, no control characters. */
export function tameText(unsafeText: string): string {
  return unsafeText
    .replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim()
    .slice(0, maximumTextLength);
}

/** What the body complains of; nothing when it is no such document. */
export function parseComplaints(body: Uint8Array): RegistryComplaint[] {
  try {
    const { errors } = parseJsonObject(body, 'the error document');
    if (!Array.isArray(errors)) return [];
    return errors.filter(isObject).map((entry) => ({
      code: tameText(textOf(entry, 'code') ?? ''),
      message: tameText(textOf(entry, 'message') ?? ''),
    }));
  } catch {
    return [];
  }
}

/** Reads an answer that is not what was hoped for, and lets go of it. `doing` opens the sentence. */
export async function registryError(response: HttpResponse, doing: string): Promise<GantryError> {
  const { status, url } = response;
  const body = await response.bytes(maximumBodyBytes, 'the error document').catch(() => Buffer.alloc(0));
  await response.discard();
  const complaints = parseComplaints(body);
  const said = complaints
    .map(({ code, message }) => [code, message].filter((part) => part !== '').join(': '))
    .join('; ');
  const sentence = `${doing}: ${plainUrl(url)} answered ${status}${said === '' ? '' : ` (${tameText(said)})`}`;
  const details = { host: url.host, status };
  switch (status) {
    case 401:
      return new GantryError('unauthenticated', sentence, { details });
    case 403:
      return permissionDenied(`${sentence}: the credentials for ${url.host} do not allow this`, details);
    case 404:
      return notFound(sentence, details);
    case 405:
      return new GantryError('not implemented', sentence, { details });
    case 429:
      return resourceExhausted(`${sentence}: ${url.host} limits the number of requests: ${advice(response)}`, details);
    case 408:
    case 500:
    case 502:
    case 503:
    case 504:
      return unavailable(sentence, details);
    default:
      return unknown(sentence, details);
  }
}

/** What to do about too many requests. */
function advice(response: HttpResponse): string {
  const after = response.header('retry-after');
  const when =
    after === undefined ? 'try again later' : `try again after ${tameText(after)}${/^\d+$/.test(after) ? ' s' : ''}`;
  return `${when}, log in for a higher limit, or use a mirror`;
}
