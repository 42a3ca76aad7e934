/**
 * One blob from a registry into the content store.
 *
 * It goes on where an ingest ended, also after a restart; each piece is hashed as it is written; what is committed has
 * the descriptor's size and digest whatever the server's headers said. Wrong content is thrown away and asked for again,
 * elsewhere if there is an elsewhere.
 */
import { dataLoss, isCode, unavailable } from '@gantry/errors';
import type { Writer } from '@gantry/content';
import type { Descriptor } from '@gantry/oci';
import type { Labels } from '@gantry/store';
import { backoffMs, isTransient, pause } from '../http/retry.ts';
import type { RetryPolicy } from '../http/retry.ts';
import type { ImageContent } from '../image-content.ts';
import type { Fetched } from '../registry/fetch.ts';
import type { Fetcher } from '../registry/registry.ts';
import { ingestRef, takeWriter } from './ingest.ts';
import type { ContentKind, ProgressReporter } from './progress.ts';

/** Breaks in a row that brought nothing worth mentioning. */
const maximumIdleFailures = 3;
/** What is worth mentioning: a server that gives ten bytes an answer does not get on either. */
const progressBytes = 64 * 1024;
/** Pieces come as small as 16 KiB; each write costs a turn of the thread pool. */
const writeBytes = 256 * 1024;
/** How often the whole content may turn out wrong. The first time may be an earlier pull's fault. */
const maximumWrongContents = 3;
/** A server that sends less than this, over this time, counts as one that sends nothing. */
const slowWindowMs = 60_000;
const slowBytes = 64 * 1024;

export interface DownloadComponents {
  readonly fetcher: Fetcher;
  readonly content: ImageContent;
  readonly retry: RetryPolicy;
}

export interface DownloadOptions {
  readonly kind: ContentKind;
  readonly labels: Labels;
  readonly progress: ProgressReporter;
  readonly signal?: AbortSignal | undefined;
}

/** Errors: data loss (wrong content), unavailable (it keeps breaking off), and those of fetch.ts and the content store. */
export async function downloadBlob(
  components: DownloadComponents,
  descriptor: Descriptor,
  { kind, labels, progress, signal }: DownloadOptions,
): Promise<void> {
  const { content } = components;
  const ref = ingestRef(kind, descriptor);
  const writer = await takeWriter(content, ref, descriptor, signal);
  if (writer === undefined) {
    await content.addLabels(descriptor.digest, labels);
    progress.state('exists');
    return;
  }
  try {
    await new Download(components, descriptor, writer, progress, signal).run();
    await commit(writer, descriptor, labels, content);
  } catch (err) {
    // What was wrong must not be gone on from; what broke off may.
    if (isCode(err, 'data loss') || isCode(err, 'failed precondition')) {
      await writer.close();
      await content.abort(ref);
    }
    throw err;
  } finally {
    await writer.close();
  }
  progress.state('done');
}

/** Commits complete and verified bytes; somebody else's having been faster is as good. */
export async function commit(
  writer: Writer,
  { digest, size }: Descriptor,
  labels: Labels,
  content: ImageContent,
): Promise<void> {
  try {
    await writer.commit({ size: BigInt(size), expected: digest, labels });
  } catch (err) {
    if (!isCode(err, 'already exists')) throw err;
    await content.addLabels(digest, labels);
  }
}

class Download {
  readonly #components: DownloadComponents;
  readonly #descriptor: Descriptor;
  readonly #writer: Writer;
  readonly #progress: ProgressReporter;
  readonly #signal: AbortSignal | undefined;
  readonly #avoid = new Set<string>();
  #offset: number;

  constructor(
    components: DownloadComponents,
    descriptor: Descriptor,
    writer: Writer,
    progress: ProgressReporter,
    signal: AbortSignal | undefined,
  ) {
    this.#components = components;
    this.#descriptor = descriptor;
    this.#writer = writer;
    this.#progress = progress;
    this.#signal = signal;
    this.#offset = Number(writer.status().offset);
  }

  /** Ends with all bytes written, and their digest being the descriptor's. */
  async run(): Promise<void> {
    const { digest, size } = this.#descriptor;
    for (let wrong = 0; ;) {
      if (this.#offset > size) await this.#startOver();
      const host = await this.#fill();
      const actual = this.#writer.digest();
      if (actual === digest) return;
      wrong += 1;
      if (wrong >= maximumWrongContents || (host === undefined && size === 0)) {
        throw dataLoss(`${digest}: ${host ?? 'the registry'} sends other content (${actual})`, { digest });
      }
      if (host !== undefined) this.#avoid.add(host);
      await this.#startOver();
    }
  }

  async #startOver(): Promise<void> {
    await this.#writer.truncate(0n);
    this.#offset = 0;
  }

  /** Fetches until all bytes are there; gives who sent the last ones. */
  async #fill(): Promise<string | undefined> {
    const { size } = this.#descriptor;
    const { fetcher, retry } = this.#components;
    let host: string | undefined;
    for (let failures = 0; this.#offset < size;) {
      const before = this.#offset;
      // Failing here has been retried already; what follows is about answers that break off.
      const fetched = await fetcher.fetch(this.#descriptor, {
        offset: before,
        signal: this.#signal,
        avoid: this.#avoid,
      });
      host = fetched.host;
      try {
        await this.#copy(fetched);
      } catch (err) {
        if (!isTransient(err)) throw err;
        failures = this.#offset >= before + progressBytes ? 1 : failures + 1;
        if (failures >= maximumIdleFailures) throw err;
        await pause(backoffMs(retry, failures), this.#signal);
      }
    }
    return host;
  }

  /** Throws unavailable when the body ends too early or too slowly, data loss when there is more than there should be. */
  async #copy(fetched: Fetched): Promise<void> {
    const { digest, size } = this.#descriptor;
    const pace = new Pace();
    let pending: Uint8Array[] = [];
    let length = 0;
    const flush = async (): Promise<void> => {
      const bytes = Buffer.concat(pending, length);
      pending = [];
      length = 0;
      await this.#writer.write(bytes);
      this.#offset += bytes.length;
    };
    try {
      for await (const piece of pace.watch(fetched.body, `${digest}: ${fetched.host}`)) {
        if (this.#offset + length + piece.length > size) {
          throw dataLoss(`${digest}: ${fetched.host} sends more than the ${size} bytes it should have`, { digest });
        }
        pending.push(piece);
        length += piece.length;
        this.#progress.moved(this.#offset + length);
        if (length >= writeBytes) await flush();
      }
    } catch (err) {
      // What came before the break need not come again.
      if (isTransient(err) || isCode(err, 'cancelled')) await flush();
      throw err;
    } finally {
      await fetched.discard();
    }
    await flush();
    if (this.#offset < size) {
      throw unavailable(`${digest}: ${fetched.host} stopped after ${this.#offset} of ${size} bytes`, { digest });
    }
  }
}

/** Finds out who sends just enough not to be taken for dead. Only the time spent waiting for the sender counts. */
class Pace {
  #waitedMs = 0;
  #bytes = 0;

  /** Throws unavailable. */
  async *watch(body: AsyncIterable<Uint8Array>, who: string): AsyncGenerator<Uint8Array> {
    let sinceMs = performance.now();
    for await (const piece of body) {
      this.#waitedMs += performance.now() - sinceMs;
      this.#bytes += piece.length;
      if (this.#waitedMs > slowWindowMs) {
        if (this.#bytes < slowBytes) throw unavailable(`${who} sends too slowly: ${this.#bytes} bytes in a minute`);
        this.#waitedMs = 0;
        this.#bytes = 0;
      }
      yield piece;
      sinceMs = performance.now();
    }
  }
}
