export * from './lmdb-store.ts';
export * from './memory-store.ts';
export * from './schema.ts';
export type * from './store.ts';
