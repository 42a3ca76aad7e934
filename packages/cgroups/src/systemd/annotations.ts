/**
 * Annotations `org.systemd.property.NAME` as properties of the container's unit. The value is in GVariant's text format, of
 * which systemd's properties need: booleans, strings, numbers with or without a type, and arrays of them.
 */
import { invalidArgument } from '@gantry/errors';
import type { Property } from './properties.ts';
import type { Variant } from './wire.ts';

const prefix = 'org.systemd.property.';
const numberTypes: Readonly<Record<string, string>> = {
  byte: 'y',
  int16: 'n',
  uint16: 'q',
  int32: 'i',
  uint32: 'u',
  int64: 'x',
  uint64: 't',
};

/** Throws invalid argument naming the annotation. */
export function annotatedProperties(annotations: Readonly<Record<string, string>>): Property[] {
  return Object.entries(annotations)
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => property(key, value));
}

function property(key: string, text: string): Property {
  const name = key.slice(prefix.length);
  if (!/^[A-Za-z]{3,}$/.test(name)) throw invalidArgument(`annotation ${key}: not the name of a property`);
  const value = parse(text.trim());
  if (value === undefined) throw invalidArgument(`annotation ${key}: value ${JSON.stringify(text)} is not understood`);
  // Times have two names: in seconds for people, in microseconds for programs.
  if (!/[a-z]Sec$/.test(name)) return [name, value];
  if (typeof value.value !== 'number' && typeof value.value !== 'bigint') {
    throw invalidArgument(`annotation ${key}: not a number of seconds`);
  }
  return [`${name.slice(0, -'Sec'.length)}USec`, { signature: 't', value: BigInt(value.value) * 1_000_000n }];
}

function parse(text: string): Variant | undefined {
  if (text === 'true' || text === 'false') return { signature: 'b', value: text === 'true' };
  const [, quoted] = /^(['"])((?:(?!\1)[^\\]|\\.)*)\1$/s.exec(text)?.slice(1) ?? [];
  if (quoted !== undefined) return { signature: 's', value: quoted.replaceAll(/\\(.)/gs, '$1') };
  const [, type = 'int32', digits] = /^(?:([a-z]+\d*)\s+)?([+-]?\d{1,20})$/.exec(text) ?? [];
  const signature = numberTypes[type];
  if (digits !== undefined && signature !== undefined) {
    return { signature, value: signature === 'x' || signature === 't' ? BigInt(digits) : Number(digits) };
  }
  const [, inside] = /^\[(.*)\]$/s.exec(text) ?? [];
  if (inside === undefined) return undefined;
  const members = [...inside.matchAll(/\s*((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,'"])+)\s*(?:,|$)/gs)];
  const values = members.map(([, member = '']) => parse(member.trim()));
  const first = values[0];
  if (first === undefined || values.some((value) => value?.signature !== first.signature)) return undefined;
  return {
    signature: `a${first.signature}`,
    value: values.flatMap((value) => (value === undefined ? [] : [value.value])),
  };
}
