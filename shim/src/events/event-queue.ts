/**
 * The events of one container on their way to the supervisor: kept in order, in memory, until acknowledged.
 *
 *   publish ─► [e1 e2 e3 …] ─► one call at a time ─► acknowledged ─► dropped
 *                   ▲                   │ no connection, closed, deadline: keep, back off 50 ms → 1 s, connect anew
 *                   └───────────────────┘ refused for what it is: five attempts, then dropped with a line in the log
 *
 * An exit that happens while the supervisor is away is therefore announced when it is back. The connection is opened
 * when there is something to send and closed when nothing was sent for a second: an idle shim holds no socket to the
 * supervisor.
 */
import { codeOf, messageOf } from '@gantry/errors';
import type { ShimLog } from '../log.ts';

/** One event as it travels: topic and payload, stamped when it happened. */
export interface ShimEvent {
  readonly topic: string;
  readonly typeUrl: string;
  readonly value: Uint8Array;
  readonly timestampNs: bigint;
}

/** A connection to the supervisor's event service. */
export interface EventConnection {
  /** Resolves when the supervisor has taken the event. */
  forward(event: ShimEvent): Promise<void>;
  readonly closed: boolean;
  close(): void;
}

export interface EventQueueParts {
  /** Rejects when the supervisor is away. */
  readonly connect: () => Promise<EventConnection>;
  readonly nowNs: () => bigint;
  readonly log: ShimLog;
  readonly firstBackOffMs?: number;
  readonly maxBackOffMs?: number;
  readonly idleMs?: number;
}

/** How often an event is offered that the supervisor refuses although it can be reached. */
const maxRefusals = 5;

export class EventQueue {
  readonly #parts: EventQueueParts;
  readonly #events: ShimEvent[] = [];
  readonly #idleWaiters = new Set<() => void>();
  #connection: EventConnection | undefined;
  #sending = false;
  #closed = false;
  #backOffMs: number;
  #refusals = 0;
  #wake: (() => void) | undefined;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(parts: EventQueueParts) {
    this.#parts = parts;
    this.#backOffMs = parts.firstBackOffMs ?? 50;
  }

  /** How many events are not acknowledged yet. */
  get length(): number {
    return this.#events.length;
  }

  /** The topic of the youngest event that is still waiting. */
  get lastTopic(): string | undefined {
    return this.#events.at(-1)?.topic;
  }

  /** Takes an event; it is sent after all that were taken before. Never throws, never blocks. */
  publish(topic: string, typeUrl: string, value: Uint8Array): void {
    if (this.#closed) return;
    this.#events.push({ topic, typeUrl, value, timestampNs: this.#parts.nowNs() });
    if (!this.#sending) void this.#send();
  }

  /** The supervisor is known to be there (it called us): try now instead of after the back-off. */
  nudge(): void {
    this.#backOffMs = this.#parts.firstBackOffMs ?? 50;
    this.#wake?.();
  }

  /** True when everything was acknowledged within the time. */
  async flush(timeoutMs: number): Promise<boolean> {
    if (this.#events.length === 0) return true;
    this.nudge();
    return await new Promise<boolean>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#idleWaiters.delete(finish);
        resolve(this.#events.length === 0);
      };
      const timer = setTimeout(finish, timeoutMs);
      this.#idleWaiters.add(finish);
    });
  }

  /** Ends sending; what is left is dropped. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
    this.#dropConnection();
  }

  async #send(): Promise<void> {
    this.#sending = true;
    clearTimeout(this.#idleTimer);
    while (!this.#closed) {
      const event = this.#events[0];
      if (event === undefined) break;
      if (await this.#offer(event)) this.#events.shift();
    }
    this.#sending = false;
    for (const finish of this.#idleWaiters) finish();
    this.#idleTimer = setTimeout(() => this.#dropConnection(), this.#parts.idleMs ?? 1000);
    this.#idleTimer.unref();
  }

  /** True when the event is done with. */
  async #offer(event: ShimEvent): Promise<boolean> {
    try {
      if (this.#connection === undefined || this.#connection.closed) this.#connection = await this.#parts.connect();
      await this.#connection.forward(event);
      this.#backOffMs = this.#parts.firstBackOffMs ?? 50;
      this.#refusals = 0;
      return true;
    } catch (err) {
      if (isAbsence(err)) this.#dropConnection();
      else if (++this.#refusals >= maxRefusals) {
        this.#parts.log.error('the supervisor refuses an event', { topic: event.topic, error: messageOf(err) });
        this.#refusals = 0;
        return true;
      }
      this.#parts.log.debug('event kept', { topic: event.topic, error: messageOf(err) });
      await this.#backOff();
      return false;
    }
  }

  async #backOff(): Promise<void> {
    if (this.#closed) return;
    const waitMs = this.#backOffMs;
    this.#backOffMs = Math.min(waitMs * 2, this.#parts.maxBackOffMs ?? 1000);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  #dropConnection(): void {
    clearTimeout(this.#idleTimer);
    this.#connection?.close();
    this.#connection = undefined;
  }
}

/** The supervisor is not there or does not answer, as opposed to: it answers no. */
function isAbsence(err: unknown): boolean {
  const code = codeOf(err);
  if (code === 'unavailable' || code === 'deadline exceeded' || code === 'cancelled') return true;
  return code === 'unknown' && err instanceof Error && 'code' in err && typeof err.code === 'string';
}
