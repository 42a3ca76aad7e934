import t from 'tap';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { content } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { partsOf } from './parted-message.ts';
import { partedMessages } from './parted-messages.ts';
import { StreamBytes } from './stream-bytes.ts';

type Request = content.WriteContentRequest;
const type = content.WriteContentRequest;
const maxBytes = 1024 * 1024;

function framed(message: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.from([flag, 0, 0, 0, 0]);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** What is read of these bytes when they come in pieces of this size: each message with its bytes put together. */
async function read(bytes: Buffer, pieceBytes: number, drop = false): Promise<Request[]> {
  const stream = new PassThrough();
  const messages: Request[] = [];
  const reading = (async () => {
    for await (const head of partedMessages(new StreamBytes(stream), { type, field: 6, maxBytes })) {
      const data: Uint8Array[] = [];
      if (!drop) for await (const pieces of partsOf(head)?.pieces ?? []) data.push(...pieces);
      messages.push({ ...(drop ? head : (partsOf(head)?.whole() ?? head)), data: Buffer.concat(data) });
    }
  })();
  reading.catch(() => undefined);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    if (!stream.write(bytes.subarray(at, at + pieceBytes))) {
      await Promise.race([once(stream, 'drain'), reading.catch(() => undefined)]);
    }
  }
  stream.end();
  await reading;
  return messages;
}

const request = (init: PartialMessage<Request>): Request => type.create(init);

t.test('messages are the same however they are cut', async (t) => {
  const sent = [
    request({ action: 1, ref: 'a', total: 7n, expected: 'sha256:x', offset: 3n, data: randomBytes(3000) }),
    request({}),
    request({ data: randomBytes(700) }),
    request({ action: 2, offset: 300n, labels: { a: 'b', c: 'd'.repeat(500) } }),
    request({ action: 2, ref: 'r'.repeat(3000), data: randomBytes(1), labels: { a: 'b' } }),
  ];
  const bytes = Buffer.concat(sent.map((message) => framed(type.encode(message))));
  const same = (messages: Request[]) => messages.map((message) => ({ ...message, data: Buffer.from(message.data) }));
  for (const size of [1, 2, 3, 5, 7, 64, 1000, 4096, bytes.length]) {
    t.strictSame(await read(bytes, size), same(sent), `in pieces of ${size}`);
  }
  const heads = await read(bytes, 100, true);
  t.strictSame(
    heads.map(({ ref, offset }) => [ref, offset]),
    sent.map(({ ref, offset }) => [ref, offset]),
    'what is not read of the bytes is dropped',
  );
});

t.test('bytes are handed on before the message is there', async (t) => {
  const stream = new PassThrough();
  const data = randomBytes(800_000);
  const bytes = framed(type.encode(request({ action: 1, offset: 9n, data })));
  stream.write(bytes.subarray(0, 500_000));
  const messages = partedMessages(new StreamBytes(stream), { type, field: 6, maxBytes });
  const head = await messages.next();
  t.match(head.value, { action: 1, offset: 9n });
  const pieces = partsOf(head.value as Request)?.pieces[Symbol.asyncIterator]();
  const first = await pieces?.next();
  const got = Buffer.concat((first?.value as Uint8Array[] | undefined) ?? []);
  t.ok(got.length >= 256 * 1024 && got.length <= 500_000);
  t.ok(got.equals(data.subarray(0, got.length)));
  stream.destroy();
  await t.rejects(Promise.resolve(pieces?.next()), { code: 'unavailable' });
});

t.test('what is malformed, cut off or too large fails, and nothing waits', async (t) => {
  const data = type.encode(request({ data: randomBytes(100) }));
  const fails = async (bytes: Buffer, expected: { code: string; message?: RegExp }, what: string) => {
    for (const size of [1, 50, 10_000]) await t.rejects(read(bytes, size), expected, what);
  };
  await fails(framed(data).subarray(0, 60), { code: 'invalid argument', message: /amid a message/ }, 'cut off');
  await fails(
    framed(data).subarray(0, 3),
    { code: 'invalid argument', message: /amid a message/ },
    'cut in the prefix',
  );
  await fails(framed(data, 1), { code: 'not implemented' }, 'compressed');
  await fails(
    framed(Buffer.concat([data, data])),
    { code: 'invalid argument', message: /twice/ },
    'two fields of bytes',
  );
  await fails(
    framed(Buffer.from([0x32, 0x7f, 1])),
    { code: 'invalid argument', message: /truncated/ },
    'longer than the message',
  );
  await fails(framed(Buffer.from([0x0b, 1])), { code: 'invalid argument' }, 'a group');
  await fails(framed(Buffer.alloc(20, 0xff)), { code: 'invalid argument' }, 'a varint without end');
  await fails(framed(Buffer.from([0x12, 2, 0xff, 0xfe])), { code: 'invalid argument', message: /UTF-8/ }, 'text');
  const large = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
  await fails(large, { code: 'resource exhausted' }, 'too large');
});
