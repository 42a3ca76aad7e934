/** `--filter` of images and prune, as docker's: what is named twice is an alternative, different keys must all hold. */
import { toDate } from '@gantry/client';
import { invalidArgument, notFound } from '@gantry/errors';
import { parseDuration } from '../args/values.ts';
import { familiarName } from '../commands/ps.ts';
import { hasTag } from './rows.ts';
import type { ImageRow } from './rows.ts';

type Holds = (row: ImageRow) => boolean;

/** What a filter needs beside its value. */
interface Surroundings {
  readonly rows: readonly ImageRow[];
  readonly nowMs: number;
}

const makers: Readonly<Record<string, (value: string, surroundings: Surroundings) => Holds>> = {
  dangling: (value) => {
    if (value !== 'true' && value !== 'false')
      throw invalidArgument(`filter dangling is true or false, not "${value}"`);
    return ({ image }) => hasTag(image.name) === (value === 'false');
  },
  label: (value) => hasLabel(value),
  'label!': (value) => {
    const has = hasLabel(value);
    return (row) => !has(row);
  },
  reference: (value) => {
    const pattern = globPattern(value);
    return ({ image, repository, tag }) =>
      [image.name, repository, `${repository}:${tag}`].some((name) => pattern.test(name));
  },
  before: (value, { rows }) => {
    const limit = ageOf(named(value, rows));
    return (row) => ageOf(row) < limit;
  },
  since: (value, { rows }) => {
    const limit = ageOf(named(value, rows));
    return (row) => ageOf(row) > limit;
  },
  until: (value, { nowMs }) => {
    const limit = momentBefore(value, nowMs);
    return (row) => ageOf(row) < limit;
  },
};

export const imageFilterKeys: readonly string[] = Object.keys(makers);

/**
 * `texts` are `KEY=VALUE`; `keys` are those that the command takes. Throws invalid argument, and not found for an image that
 * `before` or `since` name.
 */
export function imageFilter(
  texts: readonly string[],
  rows: readonly ImageRow[],
  keys: readonly string[] = imageFilterKeys,
  nowMs = Date.now(),
): Holds {
  const alternatives = new Map<string, Holds[]>();
  for (const text of texts) {
    const [, key = '', value = ''] = /^([a-z]+!?)=(.*)$/s.exec(text) ?? [];
    const make = keys.includes(key) ? makers[key] : undefined;
    if (make === undefined)
      throw invalidArgument(`"${text}" is not a filter: KEY=VALUE with one of ${keys.join(', ')}`);
    alternatives.set(key, [...(alternatives.get(key) ?? []), make(value, { rows, nowMs })]);
  }
  return (row) =>
    [...alternatives].every(([key, some]) =>
      // Labels are told apart by their own keys: all that are named must be there.
      key.startsWith('label') ? some.every((holds) => holds(row)) : some.some((holds) => holds(row)),
    );
}

function hasLabel(text: string): Holds {
  const equals = text.indexOf('=');
  const key = equals < 0 ? text : text.slice(0, equals);
  return ({ labels }) => Object.hasOwn(labels, key) && (equals < 0 || labels[key] === text.slice(equals + 1));
}

/** When the image was made. */
function ageOf({ created, image }: ImageRow): number {
  return (created ?? toDate(image.createdAt))?.getTime() ?? 0;
}

function named(text: string, rows: readonly ImageRow[]): ImageRow {
  const short = familiarName(text);
  const found = rows.find(
    ({ image, repository, tag, id }) =>
      image.name === text ||
      `${repository}:${tag}` === short ||
      `${repository}:${tag}` === `${short}:latest` ||
      (/^[0-9a-f]{4,64}$/.test(text) && id.startsWith(`sha256:${text}`)),
  );
  if (found === undefined) throw notFound(`image "${text}"`);
  return found;
}

/** `24h` ago, or a date. */
function momentBefore(text: string, nowMs: number): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return nowMs - ms;
  const seconds = /^\d{9,12}(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (Number.isNaN(seconds)) throw invalidArgument(`filter until: "${text}" is neither a time such as 24h nor a date`);
  return seconds;
}

/** `*`, `?` and `[…]` as a shell's, within one component of a name. */
function globPattern(glob: string): RegExp {
  const source = glob.replaceAll(/\[[^\]]*\]|[\s\S]/g, (part) => {
    if (part === '*') return '[^/]*';
    if (part === '?') return '[^/]';
    if (part.length > 1) return part.replaceAll('\\', '\\\\');
    return part.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
  });
  try {
    return new RegExp(`^${source}$`);
  } catch {
    throw invalidArgument(`filter reference: "${glob}" is not a pattern`);
  }
}
