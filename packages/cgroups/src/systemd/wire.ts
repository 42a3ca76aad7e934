/**
 * D-Bus values and messages as bytes, little-endian (D-Bus Specification, "Type System" and "Message Protocol"), as far as a
 * client of systemd's manager needs them: no descriptors, no doubles.
 */
import { invalidArgument } from '@gantry/errors';

/** A value with its type. */
export interface Variant {
  readonly signature: string;
  readonly value: BusValue;
}

/** By type: numbers for y n q i u, bigints for x t, strings for s o g, arrays for arrays and structs, bytes for `ay`. */
export type BusValue = string | number | bigint | boolean | Uint8Array | readonly BusValue[] | Variant;

/** Message types. */
export const messageKind = { call: 1, reply: 2, error: 3, signal: 4 } as const;

/** Header fields by their number. */
const headerFields = {
  1: 'path',
  2: 'interface',
  3: 'member',
  4: 'errorName',
  5: 'replySerial',
  6: 'destination',
  7: 'sender',
  8: 'signature',
} as const;
type FieldName = (typeof headerFields)[keyof typeof headerFields];
const fieldTypes: Readonly<Partial<Record<FieldName, string>>> = { path: 'o', replySerial: 'u', signature: 'g' };

export interface Message {
  readonly kind: number;
  readonly serial: number;
  readonly fields: Readonly<Partial<Record<FieldName, string | number>>>;
  readonly body: readonly BusValue[];
}

const FIXED_HEADER_BYTES = 16;
const MAX_MESSAGE_BYTES = 1 << 27;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);

const alignments: Readonly<Record<string, number>> = {
  y: 1,
  g: 1,
  v: 1,
  n: 2,
  q: 2,
  b: 4,
  i: 4,
  u: 4,
  s: 4,
  o: 4,
  a: 4,
  x: 8,
  t: 8,
  '(': 8,
  '{': 8,
};

function alignmentOf(type: string): number {
  const alignment = alignments[type[0] ?? ''];
  if (alignment === undefined) throw invalidArgument(`D-Bus type ${JSON.stringify(type)}`);
  return alignment;
}

/** The complete types that a signature consists of: `sa(sv)u` is `s`, `a(sv)`, `u`. */
export function typesOf(signature: string): string[] {
  const types: string[] = [];
  for (let at = 0; at < signature.length;) {
    const end = endOfType(signature, at);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

function endOfType(signature: string, start: number): number {
  let at = start;
  while (signature[at] === 'a') at++;
  const closing = signature[at] === '(' ? ')' : signature[at] === '{' ? '}' : undefined;
  if (closing === undefined) {
    alignmentOf(signature[at] ?? '');
    return at + 1;
  }
  // The specification has no empty structure; one would be read for ever.
  if (signature[at + 1] === closing) throw invalidArgument(`D-Bus type ${JSON.stringify(signature)}`);
  for (at++; signature[at] !== closing;) at = endOfType(signature, at);
  return at + 1;
}

class Writer {
  #bytes = Buffer.alloc(512);
  #length = 0;

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  align(to: number): void {
    this.#take((to - (this.#length % to)) % to);
  }

  /** So many more bytes, zero; returns where they begin. The buffer may be another one afterwards. */
  #take(count: number): number {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(this.#length, this.#bytes.length * 2));
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    return start;
  }

  raw(bytes: Uint8Array): void {
    const at = this.#take(bytes.length);
    this.#bytes.set(bytes, at);
  }

  write(type: string, value: BusValue): void {
    this.align(alignmentOf(type));
    if (type === 's' || type === 'o') this.#string(String(value));
    else if (type === 'g') this.#signature(String(value));
    else if (type === 'v') this.#variant(value);
    else if (type.startsWith('a')) this.#array(type.slice(1), value);
    else if (type.startsWith('(') || type.startsWith('{')) this.#struct(type, value);
    else this.#number(type, value);
  }

  #number(type: string, value: BusValue): void {
    const number = typeof value === 'bigint' ? value : BigInt(Number(value));
    switch (type) {
      case 'y':
        this.raw(Buffer.from([Number(number)]));
        return;
      case 'n':
      case 'q': {
        const at = this.#take(2);
        this.#bytes.writeUInt16LE(Number(BigInt.asUintN(16, number)), at);
        return;
      }
      case 'x':
      case 't': {
        const at = this.#take(8);
        this.#bytes.writeBigUInt64LE(BigInt.asUintN(64, number), at);
        return;
      }
      default: {
        const at = this.#take(4);
        this.#bytes.writeUInt32LE(Number(BigInt.asUintN(32, number)), at);
      }
    }
  }

  #string(text: string): void {
    const bytes = Buffer.from(text);
    this.#number('u', bytes.length);
    this.raw(bytes);
    this.#take(1);
  }

  #signature(text: string): void {
    this.raw(Buffer.from([text.length]));
    this.raw(Buffer.from(text));
    this.#take(1);
  }

  #variant(value: BusValue): void {
    if (!isVariant(value)) throw invalidArgument('a D-Bus variant without a type');
    this.#signature(value.signature);
    this.write(value.signature, value.value);
  }

  #array(element: string, value: BusValue): void {
    const lengthAt = this.#take(4);
    this.align(alignmentOf(element));
    const start = this.#length;
    if (value instanceof Uint8Array) this.raw(value);
    else for (const one of listOf(value)) this.write(element, one);
    this.#bytes.writeUInt32LE(this.#length - start, lengthAt);
  }

  #struct(type: string, value: BusValue): void {
    const members = listOf(value);
    for (const [index, member] of typesOf(type.slice(1, -1)).entries()) this.write(member, members[index] ?? '');
  }
}

function isVariant(value: BusValue): value is Variant {
  return typeof value === 'object' && 'signature' in value;
}

function listOf(value: BusValue): readonly BusValue[] {
  if (Array.isArray(value)) return value as readonly BusValue[];
  throw invalidArgument('a D-Bus container that is no list');
}

class Reader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  align(to: number): void {
    this.#at = Math.ceil(this.#at / to) * to;
  }

  read(type: string): BusValue {
    this.align(alignmentOf(type));
    switch (type[0]) {
      case 'y':
        return this.#bytes.readUInt8(this.#skip(1));
      case 'n':
        return this.#bytes.readInt16LE(this.#skip(2));
      case 'q':
        return this.#bytes.readUInt16LE(this.#skip(2));
      case 'i':
        return this.#bytes.readInt32LE(this.#skip(4));
      case 'u':
        return this.#uint32();
      case 'b':
        return this.#uint32() !== 0;
      case 'x':
        return this.#bytes.readBigInt64LE(this.#skip(8));
      case 't':
        return this.#bytes.readBigUInt64LE(this.#skip(8));
      case 'g':
        return this.#text(this.#bytes.readUInt8(this.#skip(1)));
      case 'v': {
        const signature = this.#text(this.#bytes.readUInt8(this.#skip(1)));
        return { signature, value: this.read(signature) };
      }
      case 'a':
        return this.#array(type.slice(1));
      case '(':
      case '{':
        return typesOf(type.slice(1, -1)).map((member) => this.read(member));
      default:
        return this.#text(this.#uint32());
    }
  }

  #skip(count: number): number {
    const at = this.#at;
    this.#at += count;
    return at;
  }

  #uint32(): number {
    return this.#bytes.readUInt32LE(this.#skip(4));
  }

  #text(length: number): string {
    const at = this.#skip(length + 1);
    return this.#bytes.toString('utf8', at, at + length);
  }

  #array(element: string): BusValue {
    const length = this.#uint32();
    this.align(alignmentOf(element));
    const end = this.#at + length;
    if (end > this.#bytes.length) throw invalidArgument('a D-Bus array that is longer than its message');
    const values: BusValue[] = [];
    while (this.#at < end) values.push(this.read(element));
    return values;
  }
}

/** The bytes of a message; `signature` is its body's. */
export function encodeMessage(message: Message, signature: string): Buffer {
  const body = new Writer();
  for (const [index, type] of typesOf(signature).entries()) body.write(type, message.body[index] ?? '');
  const bodyBytes = body.finish();
  const fields: BusValue[] = [];
  for (const [number, name] of Object.entries(headerFields)) {
    const value = name === 'signature' ? signature : message.fields[name];
    if (value === undefined || value === '') continue;
    fields.push([Number(number), { signature: fieldTypes[name] ?? 's', value }]);
  }
  const writer = new Writer();
  writer.raw(Buffer.from([LITTLE_ENDIAN, message.kind, 0, 1]));
  writer.write('u', bodyBytes.length);
  writer.write('u', message.serial);
  writer.write('a(yv)', fields);
  writer.align(8);
  writer.raw(bodyBytes);
  return writer.finish();
}

/** How many bytes the message at the beginning of `bytes` has; undefined when that is not known yet. */
export function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length < FIXED_HEADER_BYTES) return undefined;
  if (bytes[0] !== LITTLE_ENDIAN) throw invalidArgument('a D-Bus message in another byte order');
  const length = FIXED_HEADER_BYTES + Math.ceil(bytes.readUInt32LE(12) / 8) * 8 + bytes.readUInt32LE(4);
  if (length > MAX_MESSAGE_BYTES) throw invalidArgument(`a D-Bus message of ${length} bytes`);
  return length;
}

/** One whole message. Throws invalid argument, or a range error, for what is none. */
export function decodeMessage(bytes: Buffer): Message {
  const reader = new Reader(bytes, 12);
  const fields: Partial<Record<FieldName, string | number>> = {};
  for (const field of listOf(reader.read('a(yv)'))) {
    const [number = 0, variant = ''] = listOf(field);
    const name = headerFields[Number(number) as keyof typeof headerFields] as FieldName | undefined;
    if (name === undefined || !isVariant(variant)) continue;
    const { value } = variant;
    if (typeof value === 'string' || typeof value === 'number') fields[name] = value;
  }
  reader.align(8);
  const body = typesOf(String(fields.signature ?? '')).map((type) => reader.read(type));
  return { kind: bytes[1] ?? 0, serial: bytes.readUInt32LE(8), fields, body };
}
