/**
 * The events of one container on their way to the supervisor: kept in order, in memory, until acknowledged.
 *
 *   publish ─► [e1 e2 e3 …] ─► all at once, in order ─► acknowledged ─► dropped
 *                   ▲                   │ no connection, closed, deadline: keep, back off 50 ms → 1 s, connect anew
 *                   └───────────────────┘ refused for what it is: five attempts, then dropped with a line in the log
 *
 * What is no news to whoever asked for it (create, start) waits some milliseconds for company: the usual short-lived
 * container wakes the supervisor once, with its exit.
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

interface KeptEvent extends ShimEvent {
  /** How often the supervisor said no to it. */
  refusals: number;
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

/** How long an event waits for others that can wait. */
const gatherMs = 10;

export class EventQueue {
  readonly #parts: EventQueueParts;
  readonly #events: KeptEvent[] = [];
  readonly #idleWaiters = new Set<() => void>();
  #connection: EventConnection | undefined;
  #sending = false;
  #closed = false;
  #backOffMs: number;
  #wake: (() => void) | undefined;
  #gathering: NodeJS.Timeout | undefined;
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

  /**
   * Takes an event; it is sent after all that were taken before, at once or, with `canWait`, soon. Never throws, never
   * blocks.
   */
  publish(topic: string, typeUrl: string, value: Uint8Array, { canWait = false } = {}): void {
    if (this.#closed) return;
    this.#events.push({ topic, typeUrl, value, timestampNs: this.#parts.nowNs(), refusals: 0 });
    if (canWait && !this.#sending) this.#gathering ??= setTimeout(() => this.#startSending(), gatherMs);
    else this.#startSending();
  }

  /** The supervisor is known to be there (it called us): try now instead of after the back-off. */
  nudge(): void {
    this.#backOffMs = this.#parts.firstBackOffMs ?? 50;
    this.#wake?.();
  }

  /** True when everything was acknowledged within the time. */
  async flush(timeoutMs: number): Promise<boolean> {
    if (this.#events.length === 0) return true;
    this.#startSending();
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
    clearTimeout(this.#gathering);
    this.#wake?.();
    this.#dropConnection();
  }

  #startSending(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    if (!this.#sending) void this.#send();
  }

  async #send(): Promise<void> {
    this.#sending = true;
    clearTimeout(this.#idleTimer);
    while (!this.#closed && this.#events.length > 0) await this.#offerAll();
    this.#sending = false;
    for (const finish of this.#idleWaiters) finish();
    this.#idleTimer = setTimeout(() => this.#dropConnection(), this.#parts.idleMs ?? 1000);
    this.#idleTimer.unref();
  }

  /** Offers everything there is, in order; what was taken is dropped. */
  async #offerAll(): Promise<void> {
    const offered = [...this.#events];
    let calls: Promise<void>[];
    try {
      if (this.#connection === undefined || this.#connection.closed) this.#connection = await this.#parts.connect();
      const connection = this.#connection;
      calls = offered.map((event) => connection.forward(event));
    } catch (err) {
      calls = [Promise.reject(err)];
    }
    const answers = await Promise.allSettled(calls);
    const kept = offered.filter((event, at) => {
      const answer = answers[at] ?? answers[0];
      return answer?.status === 'rejected' && !this.#isGivenUp(event, answer.reason);
    });
    this.#events.splice(0, offered.length, ...kept);
    if (kept.length > 0) await this.#backOff();
    else this.#backOffMs = this.#parts.firstBackOffMs ?? 50;
  }

  /** Whether an event that was not taken shall not be offered again. */
  #isGivenUp(event: KeptEvent, err: unknown): boolean {
    if (isAbsence(err)) this.#dropConnection();
    else if (++event.refusals >= maxRefusals) {
      this.#parts.log.error('the supervisor refuses an event', { topic: event.topic, error: messageOf(err) });
      return true;
    }
    this.#parts.log.debug('event kept', { topic: event.topic, error: messageOf(err) });
    return false;
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
