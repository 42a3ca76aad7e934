/**
 * Content: immutable blobs addressed by digest, and the ingests they come from.
 *
 * Vocabulary
 * - A **blob** is bytes under their digest. On disk there is one copy for all namespaces; a namespace sees it when it has
 *   a record of it (its **info**: size, times, labels).
 * - An **ingest** is a blob in the making, named by a **ref** the client chose, private to its namespace. It survives
 *   the stream that writes it and the process: who opens a writer with the same ref goes on where it ended.
 * - A **writer** is the one open hand on an ingest. A second one is refused (unavailable) until the first is closed.
 *
 *     openWriter ──► ingest ──write*──► commit ──► blob + info        abort ──► nothing
 *                      ▲    close          │
 *                      └── openWriter ◄────┘ (kept until committed, aborted or expired)
 */
import type { Digest } from '@gantry/oci';
import type { Labels } from '@gantry/store';

/** What a namespace knows of a blob. Times are nanoseconds since the epoch. */
export interface ContentInfo {
  readonly digest: Digest;
  readonly size: bigint;
  readonly createdAtNs: bigint;
  readonly updatedAtNs: bigint;
  readonly labels: Labels;
}

/** The state of an ingest. `offset` bytes are on disk. Times are nanoseconds since the epoch. */
export interface IngestStatus {
  readonly ref: string;
  readonly offset: bigint;
  /** What the client announced; 0 when it did not. */
  readonly total: bigint;
  /** The digest the client announced; '' when it did not. */
  readonly expected: string;
  readonly startedAtNs: bigint;
  readonly updatedAtNs: bigint;
  /** When garbage collection may take it; undefined while a lease holds it. */
  readonly expiresAtNs: bigint | undefined;
}

export interface ReadOptions {
  /** Where to start; below 0 is 0. Past the end: out of range. */
  readonly offset?: bigint;
  /** How many bytes at most; 0 or less is everything up to the end. */
  readonly size?: bigint;
}

/** Bytes that are lent until they are released. */
export interface LentPiece {
  readonly bytes: Buffer;
  readonly release: () => void;
}

export interface WriterOptions {
  /** Names the ingest; not empty. */
  readonly ref: string;
  /** Announced size; 0 or absent when unknown. A stored one that differs discards what was written. */
  readonly total?: bigint;
  /** Announced digest; decides the algorithm (sha256 by default). */
  readonly expected?: string;
  /** Lease of the request: it holds the ingest, later the blob. Unknown: not found. */
  readonly lease?: string | undefined;
  /** The ingest outlives its lease, as one without: whoever failed can go on from there. The lease holds the blob only. */
  readonly resumable?: boolean;
}

export interface CommitOptions {
  /** When not 0 it must equal the bytes written. */
  readonly size?: bigint;
  /** When not empty it must equal the digest of the bytes written. */
  readonly expected?: string;
  readonly labels?: Labels;
}

/**
 * The open hand on one ingest. Calls are made one after another. Close it in `finally`: that keeps what was written and
 * lets the next writer in.
 */
export interface Writer {
  readonly ref: string;
  /** Where the ingest stands; `offset` counts every byte accepted so far. */
  status(): IngestStatus;
  /** The digest of the bytes written so far. */
  digest(): Digest;
  /** Replaces the announced total. */
  setTotal(total: bigint): Promise<void>;
  /**
   * Appends bytes, or pieces of them one after another. With `offset`: 0 where there is data starts over (truncates), anything else must be the current offset,
   * else out of range.
   */
  write(bytes: Uint8Array | readonly Uint8Array[], offset?: bigint): Promise<void>;
  /** Only 0 is possible: starts over. */
  truncate(size: bigint): Promise<void>;
  /**
   * Makes the bytes a blob of the namespace: durable, visible at once, held by the lease. Ends the writer.
   * Failed precondition when size or digest differ (the ingest stays); already exists when the namespace has the blob
   * (the ingest is removed, the lease holds the blob).
   */
  commit(options?: CommitOptions): Promise<ContentInfo>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** What `reconcile` found and did at start; texts are for the log. */
export interface ContentReport {
  /** Records whose blob is gone from the disk or has another size: `<namespace>/<digest>: <what>`. */
  readonly broken: readonly string[];
  /** Ingests taken up again: `<namespace>/<ref>`. */
  readonly ingestsKept: readonly string[];
  /** Directories without a record, and records without a directory, that were removed. */
  readonly ingestsRemoved: readonly string[];
  /** Blob files no namespace refers to; removed by `removeUnreferencedBlobs`. */
  readonly unreferencedBlobs: readonly string[];
}
