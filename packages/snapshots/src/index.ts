export * from './native.ts';
export * from './overlayfs.ts';
export * from './snapshot-store.ts';
export type * from './snapshot.ts';
export type * from './snapshotter.ts';
