import t from 'tap';
import { failedPrecondition } from '@gantry/errors';
import { EchoService } from './testing/echo-service.ts';
import { startPair } from './testing/pair.ts';

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

t.test('a streamed answer arrives whole and in order', async (t) => {
  const client = await (await startPair(t)).client();
  const answers = await all(client.stream(EchoService, 'repeat', { pid: 500 }));
  t.strictSame(
    answers.map(({ type }) => type),
    Array.from({ length: 500 }, (_, at) => String(at)),
  );
  t.strictSame(await all(client.stream(EchoService, 'repeat', { pid: 0 })), [], 'also an empty one');
});

t.test('streamed requests get one answer', async (t) => {
  const client = await (await startPair(t)).client();
  const stream = client.stream(EchoService, 'count');
  for (let at = 0; at < 100; at++) await stream.send({});
  stream.closeSend();
  stream.closeSend();
  t.equal((await stream.response()).pid, 100);
  await t.rejects(stream.send({}), { code: 'failed precondition' });
});

t.test('both ways at once', async (t) => {
  const client = await (await startPair(t)).client();
  const stream = client.stream(EchoService, 'chat');
  const answers = stream[Symbol.asyncIterator]();
  for (const word of ['one', 'two']) {
    await stream.send({ source: word });
    const { value } = await answers.next();
    t.equal(value?.source, word.toUpperCase());
  }
  stream.closeSend();
  t.equal((await answers.next()).done, true);
});

t.test('an error in the middle of a stream comes after what was sent before it', async (t) => {
  const pair = await startPair(t, {
    async *repeat() {
      yield { type: 'first' };
      throw failedPrecondition('no more');
    },
  });
  const client = await pair.client();
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { type } of client.stream(EchoService, 'repeat', {})) seen.push(type);
  })();
  await t.rejects(reading, { code: 'failed precondition', message: 'no more' });
  t.strictSame(seen, ['first']);
});

t.test('a reader that leaves early does not stop the connection', async (t) => {
  const client = await (await startPair(t)).client();
  for await (const { type } of client.stream(EchoService, 'repeat', { pid: 10_000 })) {
    if (type === '3') break;
  }
  t.equal((await client.call(EchoService, 'echo', { type: 'next' })).type, 'next');
});

t.test('a slow reader slows the writer down instead of filling memory', async (t) => {
  let sent = 0;
  const pair = await startPair(t, {
    async *repeat() {
      for (; sent < 400; sent++) yield { source: 'x'.repeat(256 << 10) };
    },
  });
  const client = await pair.client();
  const answers = client.stream(EchoService, 'repeat', {})[Symbol.asyncIterator]();
  await answers.next();
  let before = -1;
  while (before !== sent) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.ok(sent < 200, `the writer stands at ${sent} of 400`);
  let read = 1;
  while ((await answers.next()).done !== true) read += 1;
  t.equal(read, 400);
});

t.test('a handler may leave its requests unread', async (t) => {
  const pair = await startPair(t, { count: async () => ({ pid: 7 }) });
  const client = await pair.client();
  const stream = client.stream(EchoService, 'count');
  await stream.send({});
  t.equal((await stream.response()).pid, 7);
  t.equal((await client.call(EchoService, 'echo', { type: 'next' })).type, 'next');
});

t.test('when the connection breaks, the reader of a stream is told', async (t) => {
  const pair = await startPair(t);
  const client = await pair.client();
  const stream = client.stream(EchoService, 'chat');
  await stream.send({ source: 'a' });
  const answers = stream[Symbol.asyncIterator]();
  await answers.next();
  void pair.server.close({ graceMs: 0 });
  await t.rejects(answers.next(), { code: 'unavailable' });
  await t.rejects(stream.send({ source: 'b' }), { code: 'unavailable' });
});

t.test('the timeout of a stream ends it', async (t) => {
  const client = await (await startPair(t)).client();
  const stream = client.stream(EchoService, 'chat', undefined, { timeoutMs: 30 });
  await t.rejects(stream.response(), { code: 'deadline exceeded' });
});
