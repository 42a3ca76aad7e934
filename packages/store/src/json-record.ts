/** The form the storage rooms give their records: a JSON object, 64-bit numbers as decimal text. */
import { dataLoss } from '@gantry/errors';
import type { Labels } from './labels.ts';

/** A record under construction; undefined members are left out. */
export type RecordFields = Readonly<Record<string, string | bigint | Labels | undefined>>;

/** Encodes a record. */
export function encodeRecord(fields: RecordFields): Uint8Array {
  return Buffer.from(
    JSON.stringify(fields, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
  );
}

/** Reads a record's members; every getter throws data loss, naming record and member, when what is stored is not that. */
export class RecordReader {
  readonly #what: string;
  readonly #fields: ReadonlyMap<string, unknown>;

  /** `what` names the record in errors: `content sha256:…`. */
  constructor(what: string, bytes: Uint8Array) {
    this.#what = what;
    this.#fields = parseObject(what, bytes);
  }

  /** Text; '' when absent. */
  text(name: string): string {
    const value = this.#fields.get(name) ?? '';
    return typeof value === 'string' ? value : this.#wrong(name);
  }

  integer(name: string): bigint {
    return this.optionalInteger(name) ?? this.#wrong(name);
  }

  optionalInteger(name: string): bigint | undefined {
    const value = this.#fields.get(name);
    if (value === undefined) return undefined;
    return typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : this.#wrong(name);
  }

  /** Labels; none when absent. */
  labels(name: string): Labels {
    const value = this.#fields.get(name) ?? {};
    if (typeof value !== 'object' || value === null) return this.#wrong(name);
    return Object.fromEntries(
      Object.entries(value).map(([key, text]: [string, unknown]) => [
        key,
        typeof text === 'string' ? text : this.#wrong(name),
      ]),
    );
  }

  #wrong(name: string): never {
    throw dataLoss(`stored record of ${this.#what}: member ${name}`);
  }
}

function parseObject(what: string, bytes: Uint8Array): ReadonlyMap<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return new Map(Object.entries(value));
  } catch (err) {
    throw dataLoss(`stored record of ${what}`, {}, err);
  }
  throw dataLoss(`stored record of ${what}`);
}
