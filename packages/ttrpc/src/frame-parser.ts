/**
 * Cuts a byte stream into frames, however the bytes arrive.
 *
 * Holds at most one frame that is not complete, and of it only what has arrived: a peer that announces much and sends
 * little costs little. The data of a frame above the limit are passed over without being kept.
 */
import { decodeHeader, headerSize, maxDataBytes } from './frame.ts';
import type { Frame, FrameHeader } from './frame.ts';

export interface FrameHandler {
  frame(frame: Frame): void;
  /** A frame whose data are above the limit, which will be dropped. */
  oversized(header: FrameHeader): void;
}

export class FrameParser {
  private readonly handler: FrameHandler;
  private pieces: Buffer[] = [];
  private size = 0;
  private header: FrameHeader | undefined;
  private toDrop = 0;

  constructor(handler: FrameHandler) {
    this.handler = handler;
  }

  /** The bytes of an incomplete frame that are kept. */
  get buffered(): number {
    return this.size;
  }

  /** Takes the next bytes of the stream and hands over every frame that they complete. `chunk` may be kept. */
  push(chunk: Buffer): void {
    let rest = this.drop(chunk);
    while (rest.length > 0) {
      const wanted = (this.header === undefined ? headerSize : this.header.length) - this.size;
      const piece = rest.subarray(0, wanted);
      rest = rest.subarray(piece.length);
      this.pieces.push(piece);
      this.size += piece.length;
      if (piece.length === wanted) rest = this.complete(rest);
    }
  }

  /** A header or the data of a frame are complete; `rest` comes after them. */
  private complete(rest: Buffer): Buffer {
    const [first] = this.pieces;
    const whole = this.pieces.length === 1 && first !== undefined ? first : Buffer.concat(this.pieces, this.size);
    this.pieces = [];
    this.size = 0;
    if (this.header !== undefined) {
      const frame = { ...this.header, data: plain(whole) };
      this.header = undefined;
      this.handler.frame(frame);
      return rest;
    }
    const header = decodeHeader(whole);
    if (header.length > maxDataBytes) {
      this.toDrop = header.length;
      this.handler.oversized(header);
      return this.drop(rest);
    }
    if (header.length === 0) this.handler.frame({ ...header, data: new Uint8Array(0) });
    else this.header = header;
    return rest;
  }

  private drop(chunk: Buffer): Buffer {
    const dropped = Math.min(this.toDrop, chunk.length);
    this.toDrop -= dropped;
    return dropped === 0 ? chunk : chunk.subarray(dropped);
  }
}

/** The same bytes without Buffer's own meaning of `slice`. */
function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
