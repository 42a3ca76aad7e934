export * from './lmdb-store.ts';
export * from './memory-store.ts';
export * from './schema.ts';
export type * from './store.ts';
export * from './json-record.ts';
export * from './labels.ts';
