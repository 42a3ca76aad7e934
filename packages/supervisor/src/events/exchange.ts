/**
 * The event exchange: everything that happens is published here once and goes to every subscriber that asked for it.
 *
 * Events are a hint, not a record: there is no history. A subscriber has a bounded queue; one that does not read fast
 * enough is cut off with resource exhausted, so that it lists again instead of missing something silently, and never
 * holds up anybody else.
 */
import { checkIdentifier, packAny, timestampNow } from '@gantry/api';
import type { MessageType, PartialMessage, types } from '@gantry/api';
import { invalidArgument, resourceExhausted } from '@gantry/errors';

/** How many events may wait for one subscriber. */
const defaultQueueLimit = 10_000;

/** How many bytes of payload may wait for one subscriber, whatever their number. */
const defaultQueueBytesLimit = 32 * 1024 * 1024;

export type Envelope = types.Envelope;
export type EventFilter = (envelope: Envelope) => boolean;

/** Publishes on behalf of a service: the message type says what `event` is. */
export interface Publisher {
  publish<T>(namespace: string, topic: string, type: MessageType<T>, event: PartialMessage<T>): void;
}

interface Subscriber {
  readonly filter: EventFilter;
  readonly queue: Envelope[];
  queuedBytes: number;
  failure: Error | undefined;
  wake: (() => void) | undefined;
}

export class EventExchange implements Publisher {
  readonly #subscribers = new Set<Subscriber>();
  readonly #queueLimit: number;
  readonly #queueBytesLimit: number;

  constructor(options: { readonly queueLimit?: number; readonly queueBytesLimit?: number } = {}) {
    this.#queueLimit = options.queueLimit ?? defaultQueueLimit;
    this.#queueBytesLimit = options.queueBytesLimit ?? defaultQueueBytesLimit;
  }

  /** How many subscribers there are. */
  get subscriberCount(): number {
    return this.#subscribers.size;
  }

  publish<T>(namespace: string, topic: string, type: MessageType<T>, event: PartialMessage<T>): void {
    this.forward({ timestamp: timestampNow(), namespace, topic, event: packAny(type, event) });
  }

  /** Hands an envelope made elsewhere (a shim, a client) to the subscribers. Throws invalid argument when it is malformed. */
  forward(envelope: Envelope): void {
    checkIdentifier('namespace', envelope.namespace);
    checkTopic(envelope.topic);
    if (envelope.timestamp === undefined) throw invalidArgument(`event on ${envelope.topic} without a timestamp`);
    for (const subscriber of this.#subscribers) {
      if (!subscriber.filter(envelope)) continue;
      const bytes = subscriber.queuedBytes + sizeOf(envelope);
      const full = subscriber.queue.length > 0 && bytes > this.#queueBytesLimit;
      if (full || subscriber.queue.length >= this.#queueLimit) this.#cutOff(subscriber);
      else {
        subscriber.queue.push(envelope);
        subscriber.queuedBytes = bytes;
      }
      subscriber.wake?.();
    }
  }

  /**
   * Everything from now on that `filter` lets through, in order. Subscribed when this returns, not at the first read.
   * Ends when `signal` is aborted; fails with resource exhausted when the reader is too slow.
   */
  subscribe(filter: EventFilter, signal: AbortSignal): AsyncIterable<Envelope> {
    const subscriber: Subscriber = { filter, queue: [], queuedBytes: 0, failure: undefined, wake: undefined };
    this.#subscribers.add(subscriber);
    const onAbort = (): void => {
      this.#subscribers.delete(subscriber);
      subscriber.wake?.();
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    return this.#read(subscriber, signal, onAbort);
  }

  async *#read(subscriber: Subscriber, signal: AbortSignal, leave: () => void): AsyncGenerator<Envelope> {
    try {
      for (;;) {
        const next = subscriber.queue.shift();
        if (next !== undefined) {
          subscriber.queuedBytes -= sizeOf(next);
          yield next;
        } else if (subscriber.failure !== undefined) throw subscriber.failure;
        else if (signal.aborted) return;
        else
          await new Promise<void>((resolve) => {
            subscriber.wake = resolve;
          });
      }
    } finally {
      signal.removeEventListener('abort', leave);
      leave();
    }
  }

  #cutOff(subscriber: Subscriber): void {
    const behind = subscriber.queue.length;
    this.#subscribers.delete(subscriber);
    subscriber.queue.length = 0;
    subscriber.queuedBytes = 0;
    subscriber.failure = resourceExhausted(
      `subscriber fell ${behind} events behind and was cut off; list again and subscribe anew`,
    );
  }
}

function sizeOf({ topic, event }: Envelope): number {
  return topic.length + (event?.value.length ?? 0);
}

function checkTopic(topic: string): void {
  const [empty, ...components] = topic.split('/');
  if (empty !== '' || components.length === 0) {
    throw invalidArgument(`topic ${JSON.stringify(topic)} must start with "/"`);
  }
  for (const component of components) checkIdentifier('topic component', component);
}
