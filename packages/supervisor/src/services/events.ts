/** containerd.services.events.v1.Events: the exchange over gRPC. */
import { eventsService as wire, timestampNow } from '@gantry/api';
import { invalidArgument, wrap } from '@gantry/errors';
import type { EventExchange } from '../events/exchange.ts';
import { compileFilters, eventAdaptor } from '../filters/index.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

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
      return exchange.subscribe((envelope) => matches(eventAdaptor(envelope)), signal);
    },
  });
}

function compileSubscription(filters: readonly string[]): ReturnType<typeof compileFilters> {
  try {
    return compileFilters(filters);
  } catch (err) {
    throw wrap(err, 'failed parsing subscription filters');
  }
}
