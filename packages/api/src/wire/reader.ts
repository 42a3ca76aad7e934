/**
 * Reads the protobuf wire format (https://protobuf.dev/programming-guides/encoding) from a byte array.
 *
 * Every read is checked against the end of the current message, so that hostile bytes give an error that names the fault
 * and never a value from beyond it. Errors are `WireError`; the decoder turns them into invalid argument.
 */
import { isUtf8 } from 'node:buffer';

/** Malformed bytes. */
export class WireError extends Error {
  override readonly name = 'WireError';
}

/** Groups inside groups that are skipped as unknown fields. */
const maxGroupDepth = 100;

export const wireTypes = { varint: 0, fixed64: 1, delimited: 2, startGroup: 3, endGroup: 4, fixed32: 5 } as const;

/** A cursor over one message; `end` moves while nested messages are read. */
export class Reader {
  pos = 0;
  end: number;
  private readonly bytes: Buffer;
  private readonly view: DataView;
  /** The halves of the varint that was read last. */
  private low = 0;
  private high = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.end = bytes.byteLength;
  }

  get atEnd(): boolean {
    return this.pos >= this.end;
  }

  /** A field's tag; the field number is `tag >>> 3`, the wire type `tag & 7`. */
  tag(): number {
    this.varint();
    if (this.high !== 0 || this.low >>> 3 === 0) throw new WireError('invalid field number');
    return this.low;
  }

  /** The low 32 bits of a varint, unsigned: longer ones are cut off as protobuf says. */
  uint32(): number {
    const byte = this.bytes[this.pos] ?? 0x80;
    if (byte < 0x80 && this.pos < this.end) {
      this.pos += 1;
      return byte;
    }
    this.varint();
    return this.low;
  }

  int32(): number {
    return this.uint32() | 0;
  }

  sint32(): number {
    const value = this.uint32();
    return (value >>> 1) ^ -(value & 1);
  }

  bool(): boolean {
    this.varint();
    return this.low !== 0 || this.high !== 0;
  }

  uint64(): bigint {
    this.varint();
    return this.high === 0 ? BigInt(this.low) : (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  sint64(): bigint {
    const value = this.uint64();
    return (value >> 1n) ^ -(value & 1n);
  }

  fixed32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  sfixed32(): number {
    return this.view.getInt32(this.take(4), true);
  }

  fixed64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }

  sfixed64(): bigint {
    return this.view.getBigInt64(this.take(8), true);
  }

  float(): number {
    return this.view.getFloat32(this.take(4), true);
  }

  double(): number {
    return this.view.getFloat64(this.take(8), true);
  }

  /** The length of what follows, checked to be there. */
  length(): number {
    this.varint();
    if (this.high !== 0 || this.low > this.end - this.pos) throw new WireError('truncated');
    return this.low;
  }

  /** A view, not a copy; a plain Uint8Array, whose `slice` copies. */
  byteArray(): Uint8Array {
    const length = this.length();
    const start = this.take(length);
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, length);
  }

  /** Proto3 strings are UTF-8; anything else is refused. */
  string(): string {
    const length = this.length();
    const start = this.take(length);
    const text = this.bytes.toString('utf8', start, start + length);
    if (text.includes('\uFFFD') && !isUtf8(this.bytes.subarray(start, start + length))) {
      throw new WireError('invalid UTF-8');
    }
    return text;
  }

  /** Passes over the value that follows `tag`. */
  skip(tag: number, depth = 0): void {
    switch (tag & 7) {
      case wireTypes.varint:
        this.varint();
        return;
      case wireTypes.fixed64:
        this.take(8);
        return;
      case wireTypes.delimited:
        this.take(this.length());
        return;
      case wireTypes.startGroup:
        this.skipGroup(tag >>> 3, depth);
        return;
      case wireTypes.fixed32:
        this.take(4);
        return;
      case wireTypes.endGroup:
        throw new WireError('end of a group that was not begun');
      default:
        throw new WireError(`invalid wire type ${tag & 7}`);
    }
  }

  private skipGroup(number: number, depth: number): void {
    if (depth >= maxGroupDepth) throw new WireError('nested too deeply');
    for (;;) {
      const tag = this.tag();
      if ((tag & 7) === wireTypes.endGroup) {
        if (tag >>> 3 !== number) throw new WireError('end of a group that was not begun');
        return;
      }
      this.skip(tag, depth + 1);
    }
  }

  private take(size: number): number {
    const start = this.pos;
    if (size > this.end - start) throw new WireError('truncated');
    this.pos = start + size;
    return start;
  }

  private varint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.pos >= this.end) throw new WireError('truncated');
      const byte = this.bytes[this.pos] ?? 0;
      this.pos += 1;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    throw new WireError('varint longer than 10 bytes');
  }
}
