/**
 * Bytes over streams of messages: Data of at most 32 KiB, as much of it as the receiver has granted by WindowUpdates; the
 * sender's end of the stream is the end of the bytes.
 */
import { packAny, transferTypes, unpackAny } from '@gantry/api';
import { unavailable } from '@gantry/errors';
import type { MessageStream } from '../streams/streams.ts';

const dataBytes = 32 * 1024;

/** What may be on its way to us; containerd grants 64 KiB, which is a round trip every other message. */
const windowBytes = 1024 * 1024;

/** What the client sends, to its end. Throws unavailable when it is gone. */
export async function* receiveBytes(stream: MessageStream): AsyncGenerator<Uint8Array, void, void> {
  for (let granted = 0; ;) {
    if (granted < windowBytes / 2) {
      await stream.send(packAny(transferTypes.WindowUpdate, { update: windowBytes }));
      granted += windowBytes;
    }
    const message = await stream.receive();
    if (message === undefined) return;
    const { data } = unpackAny(transferTypes.Data, message);
    granted -= data.length;
    yield data;
  }
}

/** Sends as much as the client grants; the caller closes the stream. Throws unavailable when the client is gone. */
export async function sendBytes(stream: MessageStream, source: AsyncIterable<Uint8Array>): Promise<void> {
  let granted = 0;
  for await (const bytes of source) {
    for (let start = 0; start < bytes.length;) {
      while (granted <= 0) granted += await nextGrant(stream);
      const data = bytes.subarray(start, start + Math.min(granted, dataBytes));
      await stream.send(packAny(transferTypes.Data, { data }));
      granted -= data.length;
      start += data.length;
    }
  }
}

async function nextGrant(stream: MessageStream): Promise<number> {
  const message = await stream.receive();
  if (message === undefined) throw unavailable('the client takes no more of the archive');
  return unpackAny(transferTypes.WindowUpdate, message).update;
}
