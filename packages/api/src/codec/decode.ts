/**
 * Bytes to messages, driven by the field tables. What arrives from a peer may be anything: unknown fields and fields of an
 * unexpected wire type are skipped, everything malformed is an invalid argument that names the field.
 */
import { invalidArgument } from '@gantry/errors';
import type { FieldInfo, MessageType } from '../message-type.ts';
import { Reader, WireError, wireTypes } from '../wire/reader.ts';
import { wireTypeOf } from './encode.ts';
import { defaultOf, zeroOf } from './fields.ts';
import type { Fields } from './fields.ts';

/** Messages inside messages; protobuf's own default. */
const maxDepth = 100;

/** The message that `bytes` hold. */
export function decodeMessage(type: MessageType<unknown>, bytes: Uint8Array): Fields {
  const reader = new Reader(bytes);
  const at: FieldInfo[] = [];
  try {
    return readMessage(reader, type, emptyMessage(type), at);
  } catch (err) {
    if (!(err instanceof WireError)) throw err;
    const path = at.map((field) => field.protoName).join('.');
    const where = path === '' ? '' : `field ${path}: `;
    throw invalidArgument(`decoding ${type.typeName}: ${where}${err.message}`, {}, err);
  }
}

function emptyMessage(type: MessageType<unknown>): Fields {
  const message: Fields = {};
  for (const field of type.fields) message[field.name] = defaultOf(field);
  return message;
}

/** Reads up to the reader's end into `into`; `at` is the path of fields being read. */
function readMessage(reader: Reader, type: MessageType<unknown>, into: Fields, at: FieldInfo[]): Fields {
  if (at.length > maxDepth) throw new WireError('nested too deeply');
  while (!reader.atEnd) {
    const tag = reader.tag();
    const field = type.fieldByNumber(tag >>> 3);
    if (field === undefined) {
      reader.skip(tag);
      continue;
    }
    at.push(field);
    readField(reader, tag, field, into, at);
    at.pop();
  }
  return into;
}

function readField(reader: Reader, tag: number, field: FieldInfo, into: Fields, at: FieldInfo[]): void {
  const wireType = tag & 7;
  const expected = field.label === 'map' ? wireTypes.delimited : wireTypeOf(field.kind);
  const { name } = field;
  if (wireType !== expected) {
    if (field.label === 'repeated' && wireType === wireTypes.delimited) readPacked(reader, field, into);
    else reader.skip(tag);
    return;
  }
  switch (field.label) {
    case 'repeated':
      (into[name] as unknown[]).push(readValue(reader, field, undefined, at));
      return;
    case 'map':
      readMapEntry(reader, field, into[name] as Fields, at);
      return;
    default:
      // A message that comes twice is merged, as protobuf says.
      into[name] = readValue(reader, field, into[name], at);
  }
}

function readPacked(reader: Reader, field: FieldInfo, into: Fields): void {
  const list = into[field.name] as unknown[];
  within(reader, () => {
    while (!reader.atEnd) list.push(readScalar(reader, field.kind));
  });
}

function readMapEntry(reader: Reader, field: FieldInfo, map: Fields, at: FieldInfo[]): void {
  const keyKind = field.keyKind ?? 'string';
  let key = zeroOf(keyKind);
  let value: unknown;
  within(reader, () => {
    while (!reader.atEnd) {
      const tag = reader.tag();
      if (tag === ((1 << 3) | wireTypeOf(keyKind))) key = readScalar(reader, keyKind);
      else if (tag === ((2 << 3) | wireTypeOf(field.kind))) value = readValue(reader, field, value, at);
      else reader.skip(tag);
    }
  });
  map[String(key)] = value ?? (field.message === undefined ? zeroOf(field.kind) : emptyMessage(field.message));
}

function readValue(reader: Reader, field: FieldInfo, before: unknown, at: FieldInfo[]): unknown {
  const { message } = field;
  if (message === undefined) return readScalar(reader, field.kind);
  const into = (before as Fields | undefined) ?? emptyMessage(message);
  return within(reader, () => readMessage(reader, message, into, at));
}

/** Runs `read` with the reader's end at the end of the delimited value that begins here. */
function within<T>(reader: Reader, read: () => T): T {
  const length = reader.length();
  const outer = reader.end;
  reader.end = reader.pos + length;
  const result = read();
  reader.end = outer;
  return result;
}

function readScalar(reader: Reader, kind: FieldInfo['kind']): unknown {
  switch (kind) {
    case 'string':
      return reader.string();
    case 'bytes':
      return reader.byteArray();
    case 'bool':
      return reader.bool();
    case 'uint32':
      return reader.uint32();
    case 'int32':
    case 'enum':
      return reader.int32();
    case 'sint32':
      return reader.sint32();
    case 'uint64':
      return reader.uint64();
    case 'int64':
      return reader.int64();
    case 'sint64':
      return reader.sint64();
    case 'fixed32':
      return reader.fixed32();
    case 'sfixed32':
      return reader.sfixed32();
    case 'fixed64':
      return reader.fixed64();
    case 'sfixed64':
      return reader.sfixed64();
    case 'float':
      return reader.float();
    case 'double':
      return reader.double();
    default:
      throw new WireError(`${kind} is not a scalar`);
  }
}
