/**
 * The messages of one gRPC request stream (length-prefixed: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md),
 * each divided at its field of bytes as soon as that begins.
 *
 *     flag, length │ fields before │ key, length │ bytes … │ fields after
 *                    └─ head ────┘                └ pieces ┘
 *                    └─ whole ───┘ +                         └──────────┘
 */
import type { MessageType } from '@gantry/api';
import { invalidArgument, notImplemented, resourceExhausted } from '@gantry/errors';
import { setParts } from './parted-message.ts';

/** How the bytes of a stream are read: no more than asked for, in the pieces in which they came. */
export interface ByteQueue {
  /** Resolves to at most `atMost` bytes, at least one; undefined at the end. Throws when the stream broke off. */
  take(atMost: number): Promise<Buffer | undefined>;
  /** What is there already, of at most so many bytes. */
  takeReady(atMost: number): Buffer[];
}

const prefixBytes = 5;
/** A piece is handed on when it is worth a write, and at the end. */
const pieceBytes = 256 * 1024;
/** The fields before the bytes are short; of a message that begins otherwise everything is read before it is looked at. */
const shortBytes = 64 * 1024;

export interface PartedOptions<T> {
  readonly type: MessageType<T>;
  /** The number of the field of bytes. */
  readonly field: number;
  readonly maxBytes: number;
}

/** Reads to the end of the stream. Throws invalid argument for malformed messages, resource exhausted for too large ones. */
export async function* partedMessages<T extends object>(
  queue: ByteQueue,
  options: PartedOptions<T>,
): AsyncGenerator<T> {
  for (;;) {
    const prefix = await exactly(queue, prefixBytes, true);
    if (prefix === undefined) return;
    if (prefix[0] !== 0) throw notImplemented('compressed message in a stream without an encoding');
    const length = prefix.readUInt32BE(1);
    if (length > options.maxBytes) {
      throw resourceExhausted(`received message larger than max (${length} vs. ${options.maxBytes})`);
    }
    const parts = new MessageParts(queue, length, options);
    yield await parts.begin();
    for await (const _dropped of parts.pieces());
  }
}

class MessageParts<T extends object> {
  readonly #queue: ByteQueue;
  readonly #options: PartedOptions<T>;
  /** Of the message, not taken from the queue yet. */
  #left: number;
  /** What was taken and not used: begins with the bytes. */
  #over: Buffer = Buffer.alloc(0);
  #bytesLeft = 0;
  #fields: Buffer = Buffer.alloc(0);

  constructor(queue: ByteQueue, length: number, options: PartedOptions<T>) {
    this.#queue = queue;
    this.#left = length;
    this.#options = options;
  }

  async begin(): Promise<T> {
    const { type, field } = this.#options;
    let taken: Buffer = Buffer.alloc(0);
    for (;;) {
      const found = findField(taken, field);
      if (found !== undefined) {
        this.#fields = taken.subarray(0, found.key);
        this.#over = taken.subarray(found.start);
        this.#bytesLeft = found.length;
        if (found.length > this.#over.length + this.#left) throw invalidArgument(`${type.typeName}: truncated`);
        break;
      }
      if (this.#left === 0) {
        this.#fields = taken;
        break;
      }
      const more = taken.length < shortBytes ? [await this.#take()] : await this.#rest();
      taken = Buffer.concat([taken, ...more]);
    }
    const head = type.decode(this.#fields);
    setParts(head, { pieces: this.pieces(), whole: () => this.#whole(head) });
    return head;
  }

  async *pieces(): AsyncGenerator<readonly Uint8Array[]> {
    while (this.#bytesLeft > 0) {
      const pieces: Buffer[] = [];
      let length = 0;
      while (this.#bytesLeft > 0 && length < pieceBytes) {
        for (const piece of await this.#some()) {
          pieces.push(piece);
          length += piece.length;
          this.#bytesLeft -= piece.length;
        }
      }
      yield pieces;
    }
    this.#over = Buffer.concat([this.#over, ...(await this.#rest())]);
  }

  /** Of the bytes: what was read over first, then what is there, or comes next. */
  async #some(): Promise<Buffer[]> {
    const over = this.#over.subarray(0, this.#bytesLeft);
    if (over.length > 0) {
      this.#over = this.#over.subarray(over.length);
      return [over];
    }
    const ready = this.#queue.takeReady(this.#bytesLeft);
    if (ready.length === 0) ready.push(await this.#next(this.#bytesLeft));
    else for (const { length } of ready) this.#left -= length;
    return ready;
  }

  #whole(head: T): T {
    const { type, field } = this.#options;
    if (this.#over.length === 0) return head;
    const whole = Buffer.concat([this.#fields, this.#over]);
    if (findField(this.#over, field) !== undefined) throw invalidArgument(`${type.typeName}: field ${field} twice`);
    return type.decode(whole);
  }

  #take(): Promise<Buffer> {
    return this.#next(this.#left);
  }

  async #rest(): Promise<Buffer[]> {
    const rest: Buffer[] = [];
    while (this.#left > 0) rest.push(await this.#take());
    return rest;
  }

  async #next(atMost: number): Promise<Buffer> {
    const piece = await this.#queue.take(atMost);
    if (piece === undefined) throw cutOff();
    this.#left -= piece.length;
    return piece;
  }
}

/** So many bytes in one piece; undefined when the stream ends before the first and may. */
async function exactly(queue: ByteQueue, length: number, mayEnd: boolean): Promise<Buffer | undefined> {
  let bytes = await queue.take(length);
  if (bytes === undefined && mayEnd) return undefined;
  while (bytes !== undefined && bytes.length < length) {
    const more = await queue.take(length - bytes.length);
    bytes = more && Buffer.concat([bytes, more]);
  }
  if (bytes === undefined) throw cutOff();
  return bytes;
}

function cutOff(): Error {
  return invalidArgument('request stream that ends amid a message');
}

interface FieldPlace {
  /** Where its key begins. */
  readonly key: number;
  /** Where its bytes begin. */
  readonly start: number;
  /** How many there are; they may lie beyond what was looked at. */
  readonly length: number;
}

/** The first field of this number and with a length; undefined when it does not begin in these bytes. */
function findField(bytes: Buffer, number: number): FieldPlace | undefined {
  let at = 0;
  while (at < bytes.length) {
    const key = varint(bytes, at);
    if (key === undefined) return undefined;
    const value = varint(bytes, key.end);
    const wireType = key.value & 7;
    if (wireType === 2) {
      if (value === undefined) return undefined;
      if (key.value >>> 3 === number) return { key: at, start: value.end, length: value.value };
      at = value.end + value.value;
    } else if (wireType === 0) {
      if (value === undefined) return undefined;
      at = value.end;
    } else if (wireType === 1 || wireType === 5) at = key.end + (wireType === 1 ? 8 : 4);
    else throw invalidArgument(`field of wire type ${wireType}`);
  }
  return undefined;
}

/** A varint, of which the low 32 bits count; undefined when it does not end in these bytes. */
function varint(bytes: Buffer, start: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let at = start; at < bytes.length && at < start + 10; at += 1) {
    const byte = bytes[at] ?? 0;
    if (at - start < 5) value |= (byte & 0x7f) << (7 * (at - start));
    if (byte < 0x80) return { value: value >>> 0, end: at + 1 };
  }
  if (bytes.length - start >= 10) throw invalidArgument('varint longer than 10 bytes');
  return undefined;
}
