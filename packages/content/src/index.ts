export * from './content-store.ts';
export type * from './content.ts';
