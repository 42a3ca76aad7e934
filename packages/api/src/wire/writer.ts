/**
 * Writes the protobuf wire format (https://protobuf.dev/programming-guides/encoding) into one growing buffer.
 *
 * A nested message is written in place: one byte is kept for its length, and only when the message turns out to be longer
 * than 127 bytes is it moved to make room. Callers check the ranges of numbers.
 */

const firstSize = 256;

export class Writer {
  private buffer = Buffer.allocUnsafe(firstSize);
  private view = viewOf(this.buffer);
  private pos = 0;

  /** What was written: a view of the writer's buffer, which is used no more after this. */
  finish(): Uint8Array {
    return new Uint8Array(this.buffer.buffer, this.buffer.byteOffset, this.pos);
  }

  uint32(value: number): void {
    this.reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.buffer[this.pos++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.buffer[this.pos++] = rest;
  }

  /** Negative values take ten bytes, as protobuf says. */
  int32(value: number): void {
    if (value >= 0) this.uint32(value);
    else this.uint64(BigInt.asUintN(64, BigInt(value)));
  }

  sint32(value: number): void {
    this.uint32((value << 1) ^ (value >> 31));
  }

  /** Takes signed values as well: only the low 64 bits count. */
  uint64(value: bigint): void {
    this.reserve(10);
    const bits = BigInt.asUintN(64, value);
    let low = Number(bits & 0xffffffffn);
    let high = Number(bits >> 32n);
    while (high !== 0) {
      this.buffer[this.pos++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    while (low > 0x7f) {
      this.buffer[this.pos++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    this.buffer[this.pos++] = low;
  }

  sint64(value: bigint): void {
    this.uint64((value << 1n) ^ (value >> 63n));
  }

  bool(value: boolean): void {
    this.reserve(1);
    this.buffer[this.pos++] = value ? 1 : 0;
  }

  fixed32(value: number): void {
    const at = this.advance(4);
    this.view.setUint32(at, value, true);
  }

  fixed64(value: bigint): void {
    const at = this.advance(8);
    this.view.setBigUint64(at, BigInt.asUintN(64, value), true);
  }

  float(value: number): void {
    const at = this.advance(4);
    this.view.setFloat32(at, value, true);
  }

  double(value: number): void {
    const at = this.advance(8);
    this.view.setFloat64(at, value, true);
  }

  byteArray(value: Uint8Array): void {
    this.uint32(value.byteLength);
    const start = this.advance(value.byteLength);
    this.buffer.set(value, start);
  }

  /** Lone surrogates become U+FFFD, so that what is written is always UTF-8. */
  string(value: string): void {
    const size = Buffer.byteLength(value);
    this.uint32(size);
    const start = this.advance(size);
    this.buffer.write(value, start, size, 'utf8');
  }

  /** Writes the length of what `write` writes in front of it. */
  delimited(write: () => void): void {
    const lengthAt = this.advance(1);
    write();
    const size = this.pos - lengthAt - 1;
    const extra = varintSize(size) - 1;
    if (extra > 0) {
      this.reserve(extra);
      this.buffer.copyWithin(lengthAt + 1 + extra, lengthAt + 1, this.pos);
    }
    this.pos = lengthAt;
    this.uint32(size);
    this.pos += size;
  }

  /** Makes room and returns where it begins. May replace `buffer` and `view`: read them after this. */
  private advance(size: number): number {
    this.reserve(size);
    const start = this.pos;
    this.pos += size;
    return start;
  }

  private reserve(size: number): void {
    const needed = this.pos + size;
    if (needed <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed + 64, this.buffer.length * 2));
    grown.set(this.buffer.subarray(0, this.pos));
    this.buffer = grown;
    this.view = viewOf(grown);
  }
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  return value < 0x10000000 ? 4 : 5;
}
