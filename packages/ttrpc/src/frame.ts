/**
 * The frame of the ttrpc protocol, in bytes, big-endian:
 *
 *   0        4           8      9       10
 *   | length | stream id | type | flags | length bytes of data
 *
 * The length counts the data only and is at most 4 MiB, so that the first byte of a frame is always 0.
 */

export const headerSize = 10;

/** The largest data of one frame, in either direction. */
export const maxDataBytes = 4 * 1024 * 1024;

export const frameTypes = {
  /** Client → server: a `ttrpc.Request`. */
  request: 1,
  /** Server → client: a `ttrpc.Response`, which ends the stream. */
  response: 2,
  /** Either way, on streaming calls: one message of the stream. */
  data: 3,
} as const;

export const frameFlags = {
  /** The sender sends no more on this stream. */
  remoteClosed: 1,
  /** On a request: the client will send data. */
  remoteOpen: 2,
  /** On data: there is no message in this frame (an empty one is a message). */
  noData: 4,
} as const;

export interface FrameHeader {
  readonly length: number;
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
}

export interface Frame extends FrameHeader {
  readonly data: Uint8Array;
}

/** Reads the header at the beginning of `bytes`, which has at least `headerSize` bytes. */
export function decodeHeader(bytes: Buffer): FrameHeader {
  return {
    length: bytes.readUInt32BE(0),
    streamId: bytes.readUInt32BE(4),
    type: bytes.readUInt8(8),
    flags: bytes.readUInt8(9),
  };
}

/** A whole frame in one buffer. The caller keeps `data` within `maxDataBytes`. */
export function encodeFrame(type: number, streamId: number, flags: number, data: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(headerSize + data.byteLength);
  frame.writeUInt32BE(data.byteLength, 0);
  frame.writeUInt32BE(streamId, 4);
  frame.writeUInt8(type, 8);
  frame.writeUInt8(flags, 9);
  frame.set(data, headerSize);
  return frame;
}
