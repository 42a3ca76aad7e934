/** What a storage engine has to offer to become a `Store`: ordered pages of entries and one atomic write of a batch. */
import type { KeyPath, PathRange } from './key.ts';

/** Path → new value, or undefined to remove it. */
export type Batch = ReadonlyMap<KeyPath, Uint8Array | undefined>;

export interface EngineEntry {
  readonly path: KeyPath;
  readonly value: Uint8Array;
}

/** Reads what is durable. Values are copies. */
export interface EngineReader {
  get(path: KeyPath): Uint8Array | undefined;
  /** At most `limit` entries of the range in order, without `start` itself when `exclusive`. */
  page(range: PathRange, limit: number, exclusive: boolean): EngineEntry[];
}

export interface EngineSnapshot extends EngineReader {
  close(): void;
}

export interface Engine extends EngineReader {
  /** Makes all of the batch durable, or none of it and rejects. Never called while an earlier call is under way. */
  write(batch: Batch): Promise<void>;
  snapshot(): EngineSnapshot;
  /** Throws resource exhausted when the disk has no room for `bytes` more. Cheap: called for every writing transaction. */
  checkRoom(bytes: number): void;
  backup(directory: string): Promise<void>;
  close(): Promise<void>;
}
