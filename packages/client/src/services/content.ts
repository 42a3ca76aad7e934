/** Blobs by digest: what images are made of. */
import { createHash } from 'node:crypto';
import { content } from '@gantry/api';
import { failedPrecondition, internal, invalidArgument, isCode, messageOf, resourceExhausted } from '@gantry/errors';
import type { BidiStream } from '../transport/bidi-stream.ts';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = content.ContentService;
const { WriteAction } = content;

/** Data in one Write message; well below the message limit, large enough that round trips do not count. */
const writeChunkBytes = 1024 * 1024;

const lockedRetryDelaysMs = [20, 50, 100, 200, 400, 800, 1600, 3000];

export interface ReadOptions extends CallOptions {
  readonly offset?: bigint | undefined;
  /** 0: to the end. */
  readonly size?: bigint | undefined;
}

export interface WriteOptions extends CallOptions {
  /** Name of the ingest, unique among writers; a stale ingest of that name is overwritten. */
  readonly ref: string;
  /** The digest the bytes must have; already present content then needs no writing. */
  readonly expected?: string | undefined;
  readonly sizeBytes?: bigint | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** What `write` stored. */
export interface Written {
  readonly digest: string;
  readonly size: bigint;
  /** True when the server had the blob before. */
  readonly existed: boolean;
}

/** What working on images needs of the content service; tests pass a literal. */
export type ContentCalls = Pick<ContentClient, 'info' | 'read' | 'readAll' | 'setLabels' | 'write'>;

export class ContentClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /** Throws not found. */
  async info(digest: string, options: CallOptions = {}): Promise<content.Info> {
    const reply = await this.transport.unary(service, service.methods.info, { digest }, options);
    if (reply.info === undefined) throw internal(`content ${digest}: empty reply`);
    return reply.info;
  }

  async *list(filters: readonly string[] = [], options: CallOptions = {}): AsyncGenerator<content.Info, void, void> {
    const request = { filters: [...filters] };
    for await (const batch of this.transport.serverStream(service, service.methods.list, request, options)) {
      yield* batch.info;
    }
  }

  /** The bytes of a blob in order. They are not hashed here; the server verified them when they were written. */
  async *read(digest: string, options: ReadOptions = {}): AsyncGenerator<Uint8Array, void, void> {
    const request = { digest, offset: options.offset ?? 0n, size: options.size ?? 0n };
    for await (const chunk of this.transport.serverStream(service, service.methods.read, request, options)) {
      yield chunk.data;
    }
  }

  /** A whole small blob. Throws resource exhausted above `limitBytes`: a manifest has no business being larger. */
  async readAll(digest: string, limitBytes: number, options: CallOptions = {}): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of this.read(digest, options)) {
      sizeBytes += chunk.length;
      if (sizeBytes > limitBytes) throw resourceExhausted(`content ${digest} is larger than ${limitBytes} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  /** Sets labels one by one; an empty value removes the label. */
  async setLabels(digest: string, labels: Readonly<Record<string, string>>, options: CallOptions = {}): Promise<void> {
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    if (paths.length === 0) return;
    const request = { info: { digest, labels: { ...labels } }, updateMask: { paths } };
    await this.transport.unary(service, service.methods.update, request, options);
  }

  /** Throws not found. The bytes go at the next garbage collection. */
  async delete(digest: string, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.delete, { digest }, options);
  }

  async statuses(filters: readonly string[] = [], options: CallOptions = {}): Promise<content.Status[]> {
    const request = { filters: [...filters] };
    return (await this.transport.unary(service, service.methods.listStatuses, request, options)).statuses;
  }

  /** Throws not found. */
  async abort(ref: string, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.abort, { ref }, options);
  }

  /**
   * Stores a blob: opens the ingest, streams `source` and commits. Content that is already there is success
   * (`existed`), and its source is left unread. A ref locked by another writer is retried for some seconds, then
   * unavailable. Throws failed precondition when size or digest differ from what was expected.
   */
  async write(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, options: WriteOptions): Promise<Written> {
    if (options.ref === '') throw invalidArgument('content ref must not be empty');
    const opened = await this.openUnlocked(options);
    if (opened === undefined) return this.existing(options);
    const { stream, status } = opened;
    try {
      const hash = createHash('sha256');
      const size = await sendAll(stream, status, source, hash);
      const digest = options.expected ?? `sha256:${hash.digest('hex')}`;
      try {
        await exchange(stream, {
          action: WriteAction.COMMIT,
          offset: size,
          total: size,
          expected: digest,
          labels: { ...options.labels },
        });
      } catch (err) {
        if (!isCode(err, 'already exists')) throw err;
        return { digest, size, existed: true };
      }
      return { digest, size, existed: false };
    } finally {
      stream.close();
    }
  }

  private async existing(options: WriteOptions): Promise<Written> {
    const digest = options.expected ?? '';
    return { digest, size: (await this.info(digest, options)).size, existed: true };
  }

  /** The opened ingest; undefined when the expected content exists. */
  private async openUnlocked(options: WriteOptions): Promise<OpenIngest | undefined> {
    for (let attempt = 0; ; attempt += 1) {
      const stream = this.transport.bidi(service, service.methods.write, options);
      try {
        const status = await exchange(stream, {
          action: WriteAction.STAT,
          ref: options.ref,
          total: options.sizeBytes ?? 0n,
          expected: options.expected ?? '',
        });
        return { stream, status };
      } catch (err) {
        stream.close();
        if (isCode(err, 'already exists')) return undefined;
        const delayMs = lockedRetryDelaysMs[attempt];
        const locked = isCode(err, 'unavailable') && messageOf(err).includes('locked');
        if (!locked || delayMs === undefined) throw err;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
      }
    }
  }
}

type WriteStream = BidiStream<content.WriteContentRequest, content.WriteContentResponse>;

interface OpenIngest {
  readonly stream: WriteStream;
  readonly status: content.WriteContentResponse;
}

async function exchange(
  stream: WriteStream,
  message: Parameters<typeof content.WriteContentRequest.create>[0],
): Promise<content.WriteContentResponse> {
  await stream.send(content.WriteContentRequest.create(message)).catch(() => {
    // The reason comes with `receive`, which reports the server's own sentence.
  });
  const reply = await stream.receive();
  if (reply === undefined) throw internal('content write: the server ended the call early');
  return reply;
}

/** Sends everything from offset 0 and returns the size. A complete ingest found at the start (shared blob) is kept. */
async function sendAll(
  stream: WriteStream,
  status: content.WriteContentResponse,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): Promise<bigint> {
  const complete = status.offset > 0n && status.offset === status.total;
  let offset = 0n;
  for await (const piece of source) {
    for (let start = 0; start < piece.length; start += writeChunkBytes) {
      const data = piece.subarray(start, start + writeChunkBytes);
      hash.update(data);
      if (!complete) {
        const reply = await exchange(stream, { action: WriteAction.WRITE, offset, data });
        if (reply.offset !== offset + BigInt(data.length)) {
          throw failedPrecondition(`content write: the server is at ${reply.offset}, not ${offset}`);
        }
      }
      offset += BigInt(data.length);
    }
  }
  if (offset === 0n && status.offset > 0n && !complete) {
    throw failedPrecondition('content write: an ingest with data is in the way of an empty blob');
  }
  return offset;
}
