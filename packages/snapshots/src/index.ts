export * from './native.ts';
export * from './overlayfs.ts';
export { decodeSnapshot } from './records.ts';
export type { SnapshotRecord } from './records.ts';
export * from './snapshot-store.ts';
export type * from './snapshot.ts';
export type * from './snapshotter.ts';
