/** This room's records in the metadata store. */
import { parseDigest } from '@gantry/oci';
import { encodeRecord, RecordReader } from '@gantry/store';
import type { ContentInfo } from './content.ts';

/** What is stored of an ingest beside its files. */
export interface IngestRecord {
  readonly total: bigint;
  readonly expected: string;
  readonly startedAtNs: bigint;
  readonly updatedAtNs: bigint;
  readonly expiresAtNs: bigint | undefined;
}

export function encodeInfo({ size, createdAtNs, updatedAtNs, labels }: ContentInfo): Uint8Array {
  return encodeRecord({ size, createdAtNs, updatedAtNs, labels });
}

export function decodeInfo(digest: string, bytes: Uint8Array): ContentInfo {
  const record = new RecordReader(`content ${digest}`, bytes);
  return {
    digest: parseDigest(digest),
    size: record.integer('size'),
    createdAtNs: record.integer('createdAtNs'),
    updatedAtNs: record.integer('updatedAtNs'),
    labels: record.labels('labels'),
  };
}

export function encodeIngest(record: IngestRecord): Uint8Array {
  return encodeRecord({ ...record });
}

export function decodeIngest(ref: string, bytes: Uint8Array): IngestRecord {
  const record = new RecordReader(`ingest ${JSON.stringify(ref)}`, bytes);
  return {
    total: record.integer('total'),
    expected: record.text('expected'),
    startedAtNs: record.integer('startedAtNs'),
    updatedAtNs: record.integer('updatedAtNs'),
    expiresAtNs: record.optionalInteger('expiresAtNs'),
  };
}
