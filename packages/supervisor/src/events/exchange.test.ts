import t from 'tap';
import { packAny, events, timestampNow } from '@gantry/api';
import { EventExchange } from './exchange.ts';
import type { Envelope } from './exchange.ts';

const all = (): boolean => true;

function envelope(topic: string, sizeBytes = 1): Envelope {
  const event = packAny(events.TaskOOM, { containerId: 'x'.repeat(sizeBytes) });
  return { timestamp: timestampNow(), namespace: 'ns', topic, event };
}

/** The topics of the next `count` events. */
async function topics(stream: AsyncIterable<Envelope>, count: number): Promise<string[]> {
  const found: string[] = [];
  for await (const { topic } of stream) if (found.push(topic) === count) break;
  return found;
}

t.test('each subscriber gets what its filter lets through, in order', async (t) => {
  const exchange = new EventExchange();
  const { signal } = new AbortController();
  const everything = exchange.subscribe(all, signal);
  const some = exchange.subscribe(({ topic }) => topic !== '/b', signal);
  for (const topic of ['/a', '/b', '/c']) exchange.forward(envelope(topic));
  t.same(await topics(everything, 3), ['/a', '/b', '/c']);
  t.same(await topics(some, 2), ['/a', '/c']);
  t.equal(exchange.subscriberCount, 0, 'who leaves is forgotten');
});

for (const [what, options, sizeBytes] of [
  ['events', { queueLimit: 3 }, 1],
  ['bytes', { queueBytesLimit: 3500 }, 1000],
] as const) {
  t.test(`a subscriber too many ${what} behind is cut off, and nobody else`, async (t) => {
    const exchange = new EventExchange(options);
    const { signal } = new AbortController();
    const slow = exchange.subscribe(all, signal);
    const quick = exchange.subscribe(all, signal)[Symbol.asyncIterator]();
    for (let i = 0; i < 10; i += 1) {
      exchange.forward(envelope(`/t${i}`, sizeBytes));
      t.match(await quick.next(), { value: { topic: `/t${i}` } });
    }
    await t.rejects(topics(slow, 10), { code: 'resource exhausted', message: /fell 3 events behind/ });
    t.equal(exchange.subscriberCount, 1);
  });
}

t.test('a single event above the limit of bytes still gets through', async (t) => {
  const exchange = new EventExchange({ queueBytesLimit: 10 });
  const stream = exchange.subscribe(all, new AbortController().signal);
  exchange.forward(envelope('/large', 1000));
  t.same(await topics(stream, 1), ['/large']);
});

t.test('an abort ends the stream, also before it is read', async (t) => {
  const exchange = new EventExchange();
  const controller = new AbortController();
  const stream = topics(exchange.subscribe(all, controller.signal), 5);
  const unread = exchange.subscribe(all, controller.signal);
  exchange.forward(envelope('/a'));
  controller.abort();
  t.same(await stream, ['/a']);
  t.same(await topics(unread, 5), ['/a'], 'what came before is still given');
  t.equal(exchange.subscriberCount, 0);
  t.same(await topics(exchange.subscribe(all, controller.signal), 1), []);
});
