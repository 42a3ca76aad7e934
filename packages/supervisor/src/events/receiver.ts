/** Where shims send their events: `containerd.services.events.ttrpc.v1.Events` on the socket beside the API's. */
import { eventsTtrpc } from '@gantry/api';
import { invalidArgument } from '@gantry/errors';
import { TtrpcServer } from '@gantry/ttrpc';
import type { Envelope, EventExchange } from './exchange.ts';

/**
 * A server that hands every forwarded envelope to the exchange, and to `observe` before; an answered event is an
 * acknowledged one.
 */
export function eventReceiver(
  exchange: EventExchange,
  observe: (envelope: Envelope) => void,
  onError: (err: unknown) => void,
): TtrpcServer {
  return new TtrpcServer({ onError }).register(eventsTtrpc.EventsService, {
    forward({ envelope }) {
      if (envelope === undefined) throw invalidArgument('forward without an envelope');
      observe(envelope);
      exchange.forward(envelope);
      return {};
    },
  });
}
