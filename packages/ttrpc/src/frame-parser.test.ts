import t from 'tap';
import { decodeHeader, encodeFrame, frameTypes, maxDataBytes } from './frame.ts';
import type { Frame, FrameHeader } from './frame.ts';
import { FrameParser } from './frame-parser.ts';

function collector(): { parser: FrameParser; frames: Frame[]; oversized: FrameHeader[] } {
  const frames: Frame[] = [];
  const oversized: FrameHeader[] = [];
  const parser = new FrameParser({
    frame: (frame) => frames.push(frame),
    oversized: (header) => oversized.push(header),
  });
  return { parser, frames, oversized };
}

function bareHeader(length: number, streamId: number, type: number): Buffer {
  const header = encodeFrame(type, streamId, 0, new Uint8Array(0));
  header.writeUInt32BE(length, 0);
  return header;
}

t.test('a frame has ten bytes of header, big-endian', (t) => {
  const frame = encodeFrame(frameTypes.data, 0x01020304, 5, Uint8Array.of(9, 8));
  t.equal(frame.toString('hex'), '000000020102030403050908');
  t.strictSame(decodeHeader(frame), { length: 2, streamId: 0x01020304, type: 3, flags: 5 });
  t.end();
});

t.test('frames are the same however the bytes arrive', (t) => {
  const sizes = [0, 1, 9, 10, 11, 1000, 70_000, 0, 3];
  const sent = sizes.map((size, at) => encodeFrame(frameTypes.data, at, at % 7, Buffer.alloc(size, at)));
  const stream = Buffer.concat(sent);
  for (const step of [1, 3, 10, 4096, stream.length]) {
    const { parser, frames } = collector();
    for (let at = 0; at < stream.length; at += step) parser.push(Buffer.from(stream.subarray(at, at + step)));
    t.equal(parser.buffered, 0);
    t.strictSame(
      frames.map(({ streamId, type, flags, data }) => encodeFrame(type, streamId, flags, data).toString('hex')),
      sent.map((frame) => frame.toString('hex')),
      `${step} bytes at a time`,
    );
  }
  t.end();
});

t.test('what is announced and not sent costs nothing', (t) => {
  const { parser, frames } = collector();
  parser.push(bareHeader(maxDataBytes, 1, frameTypes.request));
  t.equal(parser.buffered, 0);
  parser.push(Buffer.alloc(100));
  t.equal(parser.buffered, 100);
  t.same(frames, []);
  t.end();
});

t.test('data above the limit are dropped, and what follows is read', (t) => {
  const { parser, frames, oversized } = collector();
  parser.push(bareHeader(maxDataBytes + 1, 7, frameTypes.request));
  const next = encodeFrame(frameTypes.request, 9, 0, Uint8Array.of(1));
  const rest = Buffer.concat([Buffer.alloc(maxDataBytes + 1), next]);
  for (let at = 0; at < rest.length; at += 65_536) {
    parser.push(rest.subarray(at, at + 65_536));
    t.ok(parser.buffered <= 65_536);
  }
  t.strictSame(oversized, [{ length: maxDataBytes + 1, streamId: 7, type: 1, flags: 0 }]);
  t.strictSame(
    frames.map((frame) => frame.streamId),
    [9],
  );
  t.end();
});

t.test('the largest frame is read', (t) => {
  const { parser, frames } = collector();
  parser.push(encodeFrame(frameTypes.data, 1, 0, Buffer.alloc(maxDataBytes, 3)));
  t.equal(frames[0]?.data.byteLength, maxDataBytes);
  t.end();
});
