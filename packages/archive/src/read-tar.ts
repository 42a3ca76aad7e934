/** Reading a tar by asking for the next entry: `for await (const entry of readTar(stream)) …`. */
import type { EntryHeader } from './entry.ts';
import { TarParser } from './tar-parser.ts';

/** One member with its content. */
export interface TarEntry {
  readonly header: EntryHeader;
  /** The content, exactly `header.size` bytes; good until the next entry is asked for. What is not read is skipped. */
  readonly body: AsyncIterable<Uint8Array>;
}

type TarEvent =
  | { readonly kind: 'entry'; readonly header: EntryHeader }
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' };

/**
 * The entries of an archive, one after another; the source is read to its end. At most one chunk of the source is held.
 * Throws what `TarParser` throws, and whatever the source throws.
 */
export async function* readTar(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const events = new EventQueue(source);
  for (;;) {
    const event = await events.next();
    if (event === undefined) return;
    if (event.kind !== 'entry') continue;
    const body = contentOf(events);
    yield { header: event.header, body };
    // Whatever the consumer left unread goes by here.
    for await (const bytes of body) void bytes;
  }
}

async function* contentOf(events: EventQueue): AsyncGenerator<Uint8Array> {
  for (;;) {
    const event = await events.peek();
    if (event === undefined || event.kind === 'entry') return;
    await events.next();
    if (event.kind === 'end') return;
    yield event.bytes;
  }
}

/** What the parser said about the chunk just read. */
class EventQueue {
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  readonly #events: TarEvent[] = [];
  readonly #parser = new TarParser({
    entry: (header) => void this.#events.push({ kind: 'entry', header }),
    data: (bytes) => void this.#events.push({ kind: 'data', bytes }),
    end: () => void this.#events.push({ kind: 'end' }),
  });
  #next = 0;
  #finished = false;

  constructor(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#chunks = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  async peek(): Promise<TarEvent | undefined> {
    while (this.#next === this.#events.length && !this.#finished) {
      this.#events.length = 0;
      this.#next = 0;
      const chunk = await this.#chunks.next();
      if (chunk.done === true) {
        this.#finished = true;
        this.#parser.finish();
      } else {
        this.#parser.write(chunk.value);
      }
    }
    return this.#events[this.#next];
  }

  async next(): Promise<TarEvent | undefined> {
    const event = await this.peek();
    this.#next += 1;
    return event;
  }
}
