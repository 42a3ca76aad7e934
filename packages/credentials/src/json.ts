/** JSON from registries, token servers, credential helpers and client configurations: bounded, and read member by member. */
import { invalidArgument } from '@gantry/errors';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Parses an object. `what` names it in the error, which never quotes it: it may hold secrets. Throws invalid argument. */
export function parseJsonObject(bytes: Uint8Array | string, what: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8'));
  } catch {
    throw invalidArgument(`${what} is not JSON`);
  }
  if (!isObject(value)) throw invalidArgument(`${what} is not a JSON object`);
  return value;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The member when it is text and not empty. */
export function textOf(object: JsonObject, name: string): string | undefined {
  const value = Object.hasOwn(object, name) ? object[name] : undefined;
  return typeof value === 'string' && value !== '' ? value : undefined;
}
