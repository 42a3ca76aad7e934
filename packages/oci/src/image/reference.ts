/**
 * Image references: `[domain/]path[:tag][@digest]`, and the short forms people type (`busybox`), which stand for
 * `docker.io/library/busybox:latest`.
 */
import { invalidArgument } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import { isDigest } from './digest.ts';
import type { Digest } from './digest.ts';

/** A full reference. `path` has no leading slash. */
export interface Reference {
  /** Host, with port if any: `docker.io`, `localhost:5000`. */
  readonly domain: string;
  readonly path: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const maximumNameLength = 255;
/** A name, a tag and the longest registered digest. */
const maximumLength = 640;

const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?';
const domainGrammar = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]{2,45}\\])(?::[0-9]{1,5})?$`);
const componentGrammar = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const tagGrammar = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const idGrammar = /^[a-f0-9]{64}$/;

const defaultDomain = 'docker.io';
const legacyDomain = 'index.docker.io';
const officialPrefix = 'library/';

function refuse(unsafeText: string, reason: string): GantryError {
  return invalidArgument(`invalid reference ${JSON.stringify(unsafeText.slice(0, 255))}: ${reason}`);
}

/** Splits off the digest and the tag; the rest is domain and path. */
function split(unsafeText: string): { name: string; tag?: string; digest?: Digest } {
  if (unsafeText.length > maximumLength) throw refuse(unsafeText, 'too long');
  const at = unsafeText.indexOf('@');
  const named = at < 0 ? unsafeText : unsafeText.slice(0, at);
  const unsafeDigest = at < 0 ? undefined : unsafeText.slice(at + 1);
  if (unsafeDigest !== undefined && !isDigest(unsafeDigest)) throw refuse(unsafeText, 'invalid digest');
  // A colon in the first component of several is a port.
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (tag !== undefined && !tagGrammar.test(tag)) throw refuse(unsafeText, 'invalid tag');
  return {
    name: colon < 0 ? named : named.slice(0, colon),
    ...(tag === undefined ? {} : { tag }),
    ...(unsafeDigest === undefined ? {} : { digest: unsafeDigest }),
  };
}

function check(unsafeText: string, reference: Reference): Reference {
  const { domain, path } = reference;
  if (!domainGrammar.test(domain)) throw refuse(unsafeText, 'invalid domain');
  if (path.length > maximumNameLength) throw refuse(unsafeText, 'name too long');
  if (!path.split('/').every((component) => componentGrammar.test(component))) {
    throw refuse(unsafeText, path.toLowerCase() === path ? 'invalid name' : 'name must be lower case');
  }
  return reference;
}

/** Parses a full reference; the domain must be there. Throws invalid argument. */
export function parseReference(unsafeText: string): Reference {
  const { name, ...rest } = split(unsafeText);
  const slash = name.indexOf('/');
  if (slash < 0) throw refuse(unsafeText, 'a domain is required');
  return check(unsafeText, { domain: name.slice(0, slash), path: name.slice(slash + 1), ...rest });
}

/** The first component is a domain when it looks like a host: a dot, a port, `localhost`, or upper case. */
function isDomain(component: string): boolean {
  return /[.:]/.test(component) || component === 'localhost' || component.toLowerCase() !== component;
}

/**
 * Parses what a person typed: the domain defaults to docker.io, its single-component names are below `library/`, a
 * reference without tag and digest means `latest`, and beside a digest a tag says nothing and is dropped.
 * Throws invalid argument; 64 hexadecimal digits are an id and no name.
 */
export function parseFamiliarReference(unsafeText: string): Reference {
  if (idGrammar.test(unsafeText)) throw refuse(unsafeText, 'an id is not a name');
  const { name, tag, digest } = split(unsafeText);
  const slash = name.indexOf('/');
  const hasDomain = slash >= 0 && isDomain(name.slice(0, slash));
  const given = hasDomain ? name.slice(0, slash) : defaultDomain;
  const domain = given === legacyDomain ? defaultDomain : given;
  const rest = hasDomain ? name.slice(slash + 1) : name;
  const path = domain === defaultDomain && !rest.includes('/') ? `${officialPrefix}${rest}` : rest;
  return check(unsafeText, {
    domain,
    path,
    ...(digest === undefined ? { tag: tag ?? 'latest' } : { digest }),
  });
}

/** `domain/path[:tag][@digest]`. */
export function formatReference({ domain, path, tag, digest }: Reference): string {
  return `${domain}/${path}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** The full text of what a person typed: `busybox` → `docker.io/library/busybox:latest`. Throws invalid argument. */
export function normalizeReference(unsafeText: string): string {
  return formatReference(parseFamiliarReference(unsafeText));
}

/** The short text of a full reference, for people: docker.io and its `library/` are left out. */
export function familiarReference(reference: Reference): string {
  const full = formatReference(reference);
  if (reference.domain !== defaultDomain) return full;
  const short = full.slice(defaultDomain.length + 1);
  const single = short.startsWith(officialPrefix) && !reference.path.slice(officialPrefix.length).includes('/');
  return single ? short.slice(officialPrefix.length) : short;
}
