/** A snapshot's record in the metadata store. */
import { dataLoss } from '@gantry/errors';
import { encodeRecord, RecordReader } from '@gantry/store';
import type { Labels } from '@gantry/store';
import type { SnapshotInfo, SnapshotKind } from './snapshot.ts';
import type { TreeUsage } from './snapshotter.ts';

export interface SnapshotRecord {
  /** The tree's id in the snapshotter. */
  readonly id: string;
  readonly kind: SnapshotKind;
  /** The parent's name; '' when there is none. */
  readonly parent: string;
  readonly labels: Labels;
  readonly createdAtNs: bigint;
  readonly updatedAtNs: bigint;
  /** Measured at commit. */
  readonly usage: TreeUsage | undefined;
  /** The boot in which it was committed, as long as it may not be on the disk (durability.ts). */
  readonly unsynced?: string | undefined;
  /** It did not survive a power cut, and somebody is built on it. */
  readonly damaged?: boolean | undefined;
}

export function encodeSnapshot({ usage, damaged, ...fields }: SnapshotRecord): Uint8Array {
  const measured = { size: usage?.size, inodes: usage?.inodes, fileBytes: usage?.fileBytes };
  return encodeRecord({ ...fields, ...measured, damaged: damaged === true ? 'yes' : undefined });
}

export function decodeSnapshot(key: string, bytes: Uint8Array): SnapshotRecord {
  const record = new RecordReader(`snapshot ${JSON.stringify(key)}`, bytes);
  const size = record.optionalInteger('size');
  const count = (name: string): bigint => record.optionalInteger(name) ?? 0n;
  return {
    id: record.text('id'),
    kind: kindOf(key, record.text('kind')),
    parent: record.text('parent'),
    labels: record.labels('labels'),
    createdAtNs: record.integer('createdAtNs'),
    updatedAtNs: record.integer('updatedAtNs'),
    usage: size === undefined ? undefined : { size, inodes: count('inodes'), fileBytes: count('fileBytes') },
    unsynced: record.text('unsynced') === '' ? undefined : record.text('unsynced'),
    damaged: record.text('damaged') !== '',
  };
}

/** What clients see of a record. */
export function infoOf(name: string, record: SnapshotRecord): SnapshotInfo {
  const { kind, parent, labels, createdAtNs, updatedAtNs } = record;
  return { kind, name, parent, labels, createdAtNs, updatedAtNs };
}

function kindOf(key: string, text: string): SnapshotKind {
  if (text === 'view' || text === 'active' || text === 'committed') return text;
  throw dataLoss(`stored record of snapshot ${JSON.stringify(key)}: member kind`);
}
