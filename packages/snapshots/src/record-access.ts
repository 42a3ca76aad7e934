/** Records of snapshots within transactions: found, written with their place among their parent's children, put into leases. */
import { failedPrecondition, invalidArgument, notFound } from '@gantry/errors';
import { addLeaseResource, keys, leaseResourceTypes } from '@gantry/store';
import type { Reader, Transaction } from '@gantry/store';
import { decodeSnapshot, encodeSnapshot } from './records.ts';
import type { SnapshotRecord } from './records.ts';

/** Throws not found, invalid argument for an empty key. */
export function recordIn(reader: Reader, namespace: string, snapshotter: string, key: string): SnapshotRecord {
  mustNotBeEmpty(key, 'key');
  const bytes = reader.get(keys.snapshots(namespace, snapshotter, key));
  if (bytes === undefined) throw notFound(`snapshot ${key} does not exist`, { snapshot: key });
  return decodeSnapshot(key, bytes);
}

/** As `recordIn`; failed precondition for one that is not active. */
export function activeRecord(reader: Reader, namespace: string, snapshotter: string, key: string): SnapshotRecord {
  const record = recordIn(reader, namespace, snapshotter, key);
  if (record.kind === 'active') return record;
  throw failedPrecondition(`snapshot ${JSON.stringify(key)} is not active`, { snapshot: key });
}

export function putRecord(
  tx: Transaction,
  namespace: string,
  snapshotter: string,
  key: string,
  record: SnapshotRecord,
): void {
  tx.put(keys.snapshots(namespace, snapshotter, key), encodeSnapshot(record));
  if (record.parent !== '') {
    tx.put(keys.snapshotChildren(namespace, snapshotter, record.parent, key), new Uint8Array(0));
  }
}

export function dropRecord(
  tx: Transaction,
  namespace: string,
  snapshotter: string,
  key: string,
  record: SnapshotRecord,
): void {
  tx.delete(keys.snapshots(namespace, snapshotter, key));
  if (record.parent !== '') tx.delete(keys.snapshotChildren(namespace, snapshotter, record.parent, key));
}

/** Puts what exists into the lease; false when it does not exist. */
export function leaseExisting(
  tx: Transaction,
  namespace: string,
  snapshotter: string,
  key: string,
  lease: string | undefined,
): boolean {
  if (tx.get(keys.snapshots(namespace, snapshotter, key)) === undefined) return false;
  addLeaseResource(tx, namespace, lease, leaseResourceTypes.snapshots(snapshotter), key);
  return true;
}

export function mustNotBeEmpty(text: string, what: string): void {
  if (text === '') throw invalidArgument(`snapshot ${what} must not be empty`);
}

/** Times of a record that is made now. */
export function madeNow(): Pick<SnapshotRecord, 'createdAtNs' | 'updatedAtNs'> {
  const at = nowNs();
  return { createdAtNs: at, updatedAtNs: at };
}

export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
