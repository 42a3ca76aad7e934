/** The live stream of what happens in every namespace. */
import { eventsService, typeRegistry } from '@gantry/api';
import type { types, wellKnown } from '@gantry/api';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = eventsService.EventsService;

/** One event; `payload` is the decoded message, or undefined when its type is not known here. */
export interface SupervisorEvent {
  readonly timestamp: wellKnown.Timestamp | undefined;
  readonly namespace: string;
  readonly topic: string;
  /** Full name of the payload's message type. */
  readonly type: string;
  readonly payload: unknown;
}

/** A subscription; leaving the loop, or `await using`, ends it. */
export type Subscription = AsyncGenerator<SupervisorEvent, void, void> & AsyncDisposable;

export class EventsClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /**
   * Events from now on that match any of the filters (e.g. `topic~=|^/tasks/|`); all namespaces unless a filter says
   * otherwise. The server has no history and may cut off a subscriber that does not read.
   */
  subscribe(filters: readonly string[] = [], options: CallOptions = {}): Subscription {
    const stream = this.transport.serverStream(service, service.methods.subscribe, { filters: [...filters] }, options);
    const events = (async function* () {
      try {
        for await (const envelope of stream) yield toEvent(envelope);
      } finally {
        await stream.return();
      }
    })();
    return Object.assign(events, {
      async [Symbol.asyncDispose](): Promise<void> {
        // A generator that waits inside `next` queues `return`; ending the call first lets that `next` finish.
        await Promise.all([stream.return(), events.return()]);
      },
    });
  }
}

function toEvent(envelope: types.Envelope): SupervisorEvent {
  const typeUrl = envelope.event?.typeUrl ?? '';
  const type = typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
  return {
    timestamp: envelope.timestamp,
    namespace: envelope.namespace,
    topic: envelope.topic,
    type,
    payload: typeRegistry.get(type)?.decode(envelope.event?.value ?? new Uint8Array()),
  };
}
