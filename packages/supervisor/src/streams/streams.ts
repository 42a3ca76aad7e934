/**
 * Streams that one call opens and another uses: the Streaming service registers them under an id of the client's choice,
 * a transfer takes them by that id.
 *
 *     client                              Streaming.Stream                        Transfer
 *     StreamInit{id}               ──►    registered, answered by Empty
 *     Transfer{… stream: id …}     ─────────────────────────────────────────►    take(id)
 *     messages, end                ──►    receive                          ──►    undefined at the end
 *     messages                     ◄──    send, close                      ◄──
 *
 * A stream ends when its user closes it, or when its client goes away; one that nobody took ends with its client.
 */
import type { wellKnown } from '@gantry/api';
import { alreadyExists, failedPrecondition, invalidArgument, notFound, unavailable } from '@gantry/errors';

export type Any = wellKnown.Any;

/** A stream as the call that took it sees it. */
export interface MessageStream {
  /**
   * Resolves when the next message may follow. Throws unavailable when the client is gone; nothing is told about what was
   * sent before.
   */
  send(message: Any): Promise<void>;
  /** Sends unless too much waits already; says whether it did. Never throws: for news that may be missed. */
  offer(message: Any): boolean;
  /** The client's next message; undefined at its end. Throws unavailable when the client is gone. */
  receive(): Promise<Any | undefined>;
  /** Ends the client's call once it has everything that was sent. Idempotent. */
  close(): void;
}

/** Messages that may wait for a client that does not read. */
const queueLimit = 64;

/** A stream as its own call sees it. */
export class OpenStream implements MessageStream {
  readonly #incoming: AsyncIterator<Any>;
  readonly #signal: AbortSignal;
  readonly #queue: Any[] = [];
  #closed = false;
  /** Called at every change; whoever waits looks again. */
  #wake: (() => void)[] = [];

  constructor(incoming: AsyncIterator<Any>, signal: AbortSignal) {
    this.#incoming = incoming;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#changed(), { once: true });
  }

  /** What is sent, in order, as the client takes it. */
  async *outgoing(): AsyncGenerator<Any, void, void> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) {
        this.#changed();
        yield next;
        continue;
      }
      if (this.#closed || this.#signal.aborted) return;
      await this.#change();
    }
  }

  async send(message: Any): Promise<void> {
    this.#mustBeOpen();
    this.#queue.push(message);
    this.#changed();
    while (this.#queue.length >= queueLimit && !this.#closed && !this.#signal.aborted) await this.#change();
    if (this.#signal.aborted) throw gone();
  }

  offer(message: Any): boolean {
    if (this.#closed || this.#signal.aborted || this.#queue.length >= queueLimit) return false;
    this.#queue.push(message);
    this.#changed();
    return true;
  }

  async receive(): Promise<Any | undefined> {
    try {
      const next = await this.#incoming.next();
      if (this.#signal.aborted) throw gone();
      return next.done === true ? undefined : next.value;
    } catch (err) {
      throw this.#signal.aborted ? gone() : err;
    }
  }

  close(): void {
    this.#closed = true;
    this.#changed();
  }

  #mustBeOpen(): void {
    if (this.#signal.aborted) throw gone();
    if (this.#closed) throw unavailable('the stream is closed');
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake.push(resolve);
    });
  }

  #changed(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}

/** All open streams of this process, by namespace and id. */
export class Streams {
  readonly #open = new Map<string, { readonly stream: OpenStream; taken: boolean }>();

  /** Throws already exists. The caller removes it when its call ends. */
  add(namespace: string, id: string, stream: OpenStream): void {
    if (id === '') throw invalidArgument('stream id must not be empty');
    const key = keyOf(namespace, id);
    if (this.#open.has(key)) throw alreadyExists(`stream ${JSON.stringify(id)}`, { stream: id });
    this.#open.set(key, { stream, taken: false });
  }

  remove(namespace: string, id: string): void {
    this.#open.delete(keyOf(namespace, id));
  }

  /** The stream, for one user. Throws not found; failed precondition when somebody has it. */
  take(namespace: string, id: string): MessageStream {
    const entry = this.#open.get(keyOf(namespace, id));
    if (entry === undefined) throw notFound(`stream ${JSON.stringify(id)}`, { stream: id });
    if (entry.taken) throw failedPrecondition(`stream ${JSON.stringify(id)} is in use`, { stream: id });
    entry.taken = true;
    return entry.stream;
  }
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

function gone(): Error {
  return unavailable('the client of the stream is gone');
}
