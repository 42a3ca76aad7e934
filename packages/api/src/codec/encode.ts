/**
 * Messages to bytes, driven by the field tables. Fields go out in the order of their numbers; a singular scalar that
 * equals its default is not sent; numbers of a repeated field are packed. A value that does not fit its field's type is
 * an invalid argument: it is never cut to size.
 */
import { invalidArgument } from '@gantry/errors';
import type { FieldInfo } from '../message-type.ts';
import { wireTypes } from '../wire/reader.ts';
import { Writer } from '../wire/writer.ts';
import { isBigintKind } from './fields.ts';
import type { Fields } from './fields.ts';

/** The wire form of `message`; `typeName` is for errors. */
export function encodeMessage(typeName: string, fields: readonly FieldInfo[], message: Fields): Uint8Array {
  const writer = new Writer();
  writeFields(writer, typeName, fields, message);
  return writer.finish();
}

function writeFields(writer: Writer, typeName: string, fields: readonly FieldInfo[], message: Fields): void {
  for (const field of fields) {
    const value = message[field.name];
    if (value === undefined || value === null) continue;
    try {
      writeField(writer, field, value);
    } catch (err) {
      if (!(err instanceof TypeError)) throw err;
      throw invalidArgument(`encoding ${typeName}: field ${field.protoName}: ${err.message}`, {}, err);
    }
  }
}

function writeField(writer: Writer, field: FieldInfo, value: unknown): void {
  switch (field.label) {
    case 'repeated':
      writeRepeated(writer, field, value as readonly unknown[]);
      return;
    case 'map':
      writeMap(writer, field, value as Fields);
      return;
    case 'singular':
      if (!isDefault(value)) writeTagged(writer, field, value);
      return;
    default:
      writeTagged(writer, field, value);
  }
}

function isDefault(value: unknown): boolean {
  if (typeof value === 'object') return value instanceof Uint8Array && value.byteLength === 0;
  return value === '' || value === false || value === 0n || Object.is(value, 0);
}

function writeRepeated(writer: Writer, field: FieldInfo, values: readonly unknown[]): void {
  if (values.length === 0) return;
  if (wireTypeOf(field.kind) === wireTypes.delimited) {
    for (const value of values) writeTagged(writer, field, value);
    return;
  }
  writer.uint32((field.number << 3) | wireTypes.delimited);
  writer.delimited(() => {
    for (const value of values) writeScalar(writer, field.kind, value);
  });
}

function writeMap(writer: Writer, field: FieldInfo, map: Fields): void {
  const keyKind = field.keyKind ?? 'string';
  for (const [key, value] of Object.entries(map)) {
    if (value === undefined) continue;
    writer.uint32((field.number << 3) | wireTypes.delimited);
    writer.delimited(() => {
      writer.uint32((1 << 3) | wireTypeOf(keyKind));
      writeScalar(writer, keyKind, mapKey(keyKind, key));
      writer.uint32((2 << 3) | wireTypeOf(field.kind));
      writeValue(writer, field, value);
    });
  }
}

/** The property name of a map's entry as the key's own type. */
function mapKey(kind: FieldInfo['kind'], key: string): unknown {
  if (kind === 'string') return key;
  if (kind === 'bool') return key === 'true';
  return isBigintKind(kind) ? BigInt(key) : Number(key);
}

function writeTagged(writer: Writer, field: FieldInfo, value: unknown): void {
  writer.uint32((field.number << 3) | wireTypeOf(field.kind));
  writeValue(writer, field, value);
}

function writeValue(writer: Writer, field: FieldInfo, value: unknown): void {
  const { message } = field;
  if (message === undefined) {
    writeScalar(writer, field.kind, value);
    return;
  }
  if (typeof value !== 'object' || value === null) throw new TypeError(`${shown(value)} is not a message`);
  writer.delimited(() => writeFields(writer, message.typeName, message.fields, value as Fields));
}

/** The wire type a value of this kind has when it stands alone. */
export function wireTypeOf(kind: FieldInfo['kind']): number {
  switch (kind) {
    case 'string':
    case 'bytes':
    case 'message':
      return wireTypes.delimited;
    case 'fixed32':
    case 'sfixed32':
    case 'float':
      return wireTypes.fixed32;
    case 'fixed64':
    case 'sfixed64':
    case 'double':
      return wireTypes.fixed64;
    default:
      return wireTypes.varint;
  }
}

function writeScalar(writer: Writer, kind: FieldInfo['kind'], value: unknown): void {
  switch (kind) {
    case 'string':
      return writer.string(checkString(value));
    case 'bytes':
      return writer.byteArray(checkBytes(value));
    case 'bool':
      return writer.bool(checkBoolean(value));
    case 'uint32':
      return writer.uint32(checkUnsigned(kind, value));
    case 'fixed32':
      return writer.fixed32(checkUnsigned(kind, value));
    case 'int32':
    case 'enum':
      return writer.int32(checkSigned(kind, value));
    case 'sint32':
      return writer.sint32(checkSigned(kind, value));
    case 'sfixed32':
      return writer.fixed32(checkSigned(kind, value));
    case 'uint64':
      return writer.uint64(checkUnsigned64(kind, value));
    case 'fixed64':
      return writer.fixed64(checkUnsigned64(kind, value));
    case 'int64':
      return writer.uint64(checkSigned64(kind, value));
    case 'sint64':
      return writer.sint64(checkSigned64(kind, value));
    case 'sfixed64':
      return writer.fixed64(checkSigned64(kind, value));
    case 'float':
      return writer.float(checkNumber(value));
    case 'double':
      return writer.double(checkNumber(value));
    default:
      throw new TypeError(`${kind} is not a scalar`);
  }
}

function shown(value: unknown): string {
  return typeof value === 'object' ? Object.prototype.toString.call(value) : `${typeof value} ${String(value)}`;
}

function checkString(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${shown(value)} is not a string`);
  return value;
}

function checkBytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${shown(value)} is not a byte array`);
  return value;
}

function checkBoolean(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${shown(value)} is not a boolean`);
  return value;
}

function checkNumber(value: unknown): number {
  if (typeof value !== 'number') throw new TypeError(`${shown(value)} is not a number`);
  return value;
}

function checkUnsigned(kind: string, value: unknown): number {
  if (typeof value !== 'number' || value >>> 0 !== value) throw new TypeError(`${shown(value)} is not a ${kind}`);
  return value;
}

function checkSigned(kind: string, value: unknown): number {
  if (typeof value !== 'number' || (value | 0) !== value) throw new TypeError(`${shown(value)} is not a ${kind}`);
  return value;
}

function checkUnsigned64(kind: string, value: unknown): bigint {
  if (typeof value !== 'bigint' || BigInt.asUintN(64, value) !== value) {
    throw new TypeError(`${shown(value)} is not a ${kind}`);
  }
  return value;
}

function checkSigned64(kind: string, value: unknown): bigint {
  if (typeof value !== 'bigint' || BigInt.asIntN(64, value) !== value) {
    throw new TypeError(`${shown(value)} is not a ${kind}`);
  }
  return value;
}
