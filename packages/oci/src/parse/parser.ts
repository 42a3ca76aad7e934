/**
 * Small building blocks for parsing JSON documents of strangers into typed values.
 *
 * A parser gets an unknown value and the path it was found at, and returns a typed value or throws invalid argument
 * with that path in front (`linux.namespaces[3].path: must be absolute`). Unknown members are not looked at. `null`
 * counts as absent wherever a member is optional, as Go's decoder has it.
 */
import { invalidArgument } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';

/** Turns what was found at `path` into a T, or throws invalid argument. */
export type Parser<T> = (value: unknown, path: string) => T;

type Members = Readonly<Record<string, unknown>>;

/** The parsers of an interface's members; every member must be named, an optional one through `optional`. */
type Shape<T> = { readonly [K in keyof T]-?: Parser<T[K]> };

/** The error of a value that cannot be accepted, naming where it is. */
export function refuse(path: string, reason: string): GantryError {
  return invalidArgument(path === '' ? reason : `${path}: ${reason}`, path === '' ? {} : { path });
}

/** The path of a member; the top level is the empty path. */
export function memberPath(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** What an error message may repeat of a stranger's text. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}

/** A JSON object, its members unparsed. */
export function members(value: unknown, path: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse(path, value === undefined ? 'is required' : `must be an object, not ${typeName(value)}`);
  }
  return value as Members;
}

/** An object of the given shape. Members that are absent stay absent in the result. */
export function object<T extends object>(shape: Shape<T>): Parser<T> {
  const entries = Object.entries(shape) as [string, Parser<unknown>][];
  return (value, path) => {
    const found = members(value, path);
    const result: Record<string, unknown> = {};
    for (const [name, parse] of entries) {
      const parsed = parse(Object.hasOwn(found, name) ? found[name] : undefined, memberPath(path, name));
      if (parsed !== undefined) result[name] = parsed;
    }
    return result as T;
  };
}

/** A member that may be absent or null. */
export function optional<T>(parse: Parser<T>): Parser<T | undefined> {
  return (value, path) => (value === undefined || value === null ? undefined : parse(value, path));
}

/** A member that may be absent or null and then has this value. */
export function withDefault<T>(parse: Parser<T>, fallback: T): Parser<T> {
  return (value, path) => (value === undefined || value === null ? fallback : parse(value, path));
}

/** Adds a condition: `check` returns why the value is refused, or undefined. */
export function where<T>(parse: Parser<T>, check: (value: T) => string | undefined): Parser<T> {
  return (value, path) => {
    const parsed = parse(value, path);
    const reason = check(parsed);
    if (reason !== undefined) throw refuse(path, reason);
    return parsed;
  };
}

/** Text without NUL, which no interface of the kernel can carry. */
export const text: Parser<string> = (value, path) => {
  if (typeof value !== 'string') {
    throw refuse(path, value === undefined ? 'is required' : `must be a string, not ${typeName(value)}`);
  }
  if (value.includes('\0')) throw refuse(path, 'must not contain a NUL character');
  return value;
};

export const nonEmptyText: Parser<string> = where(text, (value) => (value === '' ? 'must not be empty' : undefined));

export const absolutePath: Parser<string> = where(text, (value) =>
  value.startsWith('/') ? undefined : `must be absolute, not ${quote(value)}`,
);

export const bool: Parser<boolean> = (value, path) => {
  if (typeof value === 'boolean') return value;
  throw refuse(path, value === undefined ? 'is required' : `must be a boolean, not ${typeName(value)}`);
};

/** A whole number between the bounds, both included. */
export function integer(minimum: number, maximum: number): Parser<number> {
  return (value, path) => {
    if (typeof value !== 'number') {
      throw refuse(path, value === undefined ? 'is required' : `must be a number, not ${typeName(value)}`);
    }
    if (!Number.isInteger(value)) throw refuse(path, `must be a whole number, not ${value}`);
    if (value < minimum || value > maximum) throw refuse(path, `${value} is not between ${minimum} and ${maximum}`);
    return value;
  };
}

export const int32: Parser<number> = integer(-(2 ** 31), 2 ** 31 - 1);
export const uint16: Parser<number> = integer(0, 2 ** 16 - 1);
export const uint32: Parser<number> = integer(0, 2 ** 32 - 1);
/** The upper bounds are those of the 64-bit range as doubles: 2^63 - 1 and 2^64 - 1 are rounded up to them. */
export const int64: Parser<number> = integer(-(2 ** 63), 2 ** 63);
export const uint64: Parser<number> = integer(0, 2 ** 64);

/** One of the names of a list. */
export function oneOf<const T extends string>(names: readonly T[]): Parser<T> {
  const known = new Set<string>(names);
  return (value, path) => {
    const name = text(value, path);
    if (!known.has(name)) throw refuse(path, `unknown value ${quote(name)}`);
    return name as T;
  };
}

/** A list. The order is kept. */
export function list<T>(parse: Parser<T>): Parser<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) {
      throw refuse(path, value === undefined ? 'is required' : `must be an array, not ${typeName(value)}`);
    }
    return value.map((entry: unknown, index) => parse(entry, `${path}[${index}]`));
  };
}

/** A list in which no two entries have the same key. */
export function distinct<T>(parse: Parser<T>, key: (entry: T) => string, member: string): Parser<readonly T[]> {
  const parseList = list(parse);
  return (value, path) => {
    const entries = parseList(value, path);
    const seen = new Set<string>();
    for (const [index, entry] of entries.entries()) {
      const name = key(entry);
      if (seen.has(name)) throw refuse(`${path}[${index}].${member}`, `duplicate of ${quote(name)}`);
      seen.add(name);
    }
    return entries;
  };
}

/** An object used as a map from text to values. `__proto__` is a key like any other. */
export function record<T>(parse: Parser<T>): Parser<Readonly<Record<string, T>>> {
  return (value, path) => {
    const entries: [string, T][] = [];
    for (const [name, entry] of Object.entries(members(value, path))) {
      if (name.includes('\0')) throw refuse(path, 'a key must not contain a NUL character');
      entries.push([name, parse(entry, `${path}[${quote(name)}]`)]);
    }
    return Object.fromEntries(entries);
  };
}

export const textList: Parser<readonly string[]> = list(text);
export const textRecord: Parser<Readonly<Record<string, string>>> = record(text);
