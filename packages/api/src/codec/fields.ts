/** What the encoder, the decoder and `create` share about fields: their defaults and the shape of a message in memory. */
import type { FieldInfo, ScalarKind } from '../message-type.ts';

/** A message seen without its type. */
export type Fields = Record<string, unknown>;

const noBytes = new Uint8Array(0);

const bigintKinds: ReadonlySet<string> = new Set<ScalarKind>(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64']);

export function isBigintKind(kind: FieldInfo['kind']): boolean {
  return bigintKinds.has(kind);
}

/** The value of a field that was not sent. Lists and maps are new each time. */
export function defaultOf(field: FieldInfo): unknown {
  if (field.label === 'repeated') return [];
  if (field.label === 'map') return newMap();
  return field.label === 'optional' ? undefined : zeroOf(field.kind);
}

/** proto3's zero of a type; undefined for a message. */
export function zeroOf(kind: FieldInfo['kind']): unknown {
  switch (kind) {
    case 'message':
      return undefined;
    case 'string':
      return '';
    case 'bytes':
      return noBytes;
    case 'bool':
      return false;
    default:
      return isBigintKind(kind) ? 0n : 0;
  }
}

/** Maps have no prototype: a label named `constructor` or `__proto__` is a label like any other. */
export function newMap(): Fields {
  const map: Fields = Object.create(null);
  return map;
}
