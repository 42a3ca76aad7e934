/** containerd.services.events.v1.Events: the exchange over gRPC. */
import { eventsService as wire, timestampNow, types } from '@gantry/api';
import { invalidArgument, wrap } from '@gantry/errors';
import type { Envelope, EventExchange } from '../events/exchange.ts';
import { compileFilters, eventAdaptor } from '../filters/index.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import { LentMessage } from '../rpc/lent-message.ts';

export interface EventsServiceComponents {
  readonly exchange: Pick<EventExchange, 'forward' | 'subscribe'>;
}

export function eventsService({ exchange }: EventsServiceComponents): Binding {
  return bind(wire.EventsService, {
    publish: ({ topic, event }, { namespace }) => {
      if (event === undefined) throw invalidArgument(`event on ${JSON.stringify(topic)} without a payload`);
      exchange.forward({ timestamp: timestampNow(), namespace, topic, event });
      return {};
    },

    forward: ({ envelope }) => {
      if (envelope === undefined) throw invalidArgument('forward without an envelope');
      exchange.forward(envelope);
      return {};
    },

    /** Not a generator: the subscription begins with the call, not when the first event is asked for. */
    subscribe: ({ filters }, { signal }) => {
      const matches = compileSubscription(filters);
      return oneLargeAtATime(exchange.subscribe((envelope) => matches(eventAdaptor(envelope)), signal));
    },
  });
}

/** From this size on, an event is sent when the one before it has gone. */
const largeBytes = 64 * 1024;

/**
 * grpc-js takes sixteen messages of a stream before it holds the writer back, whatever their size: sixteen of the largest
 * would be a quarter of a gigabyte for a subscriber that does not read. A lent message is waited for.
 */
function oneLargeAtATime(envelopes: AsyncIterable<Envelope>): AsyncIterable<Envelope> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = envelopes[Symbol.asyncIterator]();
      const next = async (): Promise<IteratorResult<Envelope>> => {
        const result = await iterator.next();
        if (result.done === true || (result.value.event?.value.length ?? 0) < largeBytes) return result;
        const encoded = Buffer.from(types.Envelope.encode(result.value));
        return { value: new LentMessage(Buffer.alloc(0), encoded, () => undefined) as unknown as Envelope };
      };
      return { next, return: async () => (await iterator.return?.()) ?? { done: true, value: undefined } };
    },
  };
}

function compileSubscription(filters: readonly string[]): ReturnType<typeof compileFilters> {
  try {
    return compileFilters(filters);
  } catch (err) {
    throw wrap(err, 'failed parsing subscription filters');
  }
}
