/** Reading a table of the configuration whose keys are all known; each error is an invalid argument that names its place. */
import { invalidArgument } from '@gantry/errors';

/** The table's fields, none but these keys. */
export function fieldsOf(value: unknown, at: string, keys: readonly string[]): Readonly<Record<string, unknown>> {
  const fields = tableOf(value, at);
  const strange = Object.keys(fields).find((key) => !keys.includes(key));
  if (strange !== undefined) throw invalidArgument(`${at}.${strange}: no such key`);
  return fields;
}

export function tableOf(value: unknown, at: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw invalidArgument(`${at}: must be a table`);
}

export function textOf(value: unknown, at: string): string {
  if (typeof value === 'string') return value;
  throw invalidArgument(`${at}: must be text`);
}

export function textsOf(value: unknown, at: string): string[] {
  if (!Array.isArray(value)) throw invalidArgument(`${at}: must be a list`);
  return value.map((item, index) => textOf(item, `${at}[${index}]`));
}

export function truthOf(value: unknown, at: string): boolean {
  if (typeof value === 'boolean') return value;
  throw invalidArgument(`${at}: must be true or false`);
}
