/** The content store as archives see it: a server's own, or one at the other end of a connection; under the caller's lease. */

export interface NewBlob {
  /** Names the ingest. */
  readonly ref: string;
  /** The digest that the bytes must have; what is there already need not be written, and its bytes are left unread. */
  readonly expected?: string | undefined;
  /** Bytes. */
  readonly size?: bigint | undefined;
}

export interface ArchiveContent {
  /** Stores a blob. Failed precondition when the bytes are others than expected. */
  write(
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    blob: NewBlob,
  ): Promise<{ readonly digest: string; readonly size: bigint }>;
  /** The size in bytes. Throws not found. */
  sizeOf(digest: string): Promise<bigint>;
  /** Throws not found. */
  read(digest: string): AsyncIterable<Uint8Array>;
  /** A whole small blob. Throws not found, resource exhausted above `limitBytes`. */
  readAll(digest: string, limitBytes: number): Promise<Buffer>;
  /** Adds labels to those that are there. */
  setLabels(digest: string, labels: Readonly<Record<string, string>>): Promise<void>;
}

/** Documents larger than this are refused before they are parsed. */
export const documentLimitBytes = 8 * 1024 * 1024;
