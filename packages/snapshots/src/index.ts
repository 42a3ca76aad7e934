export type * from './snapshot.ts';
export type * from './snapshotter.ts';
