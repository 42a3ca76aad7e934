export * from './content-store.ts';
export { decodeInfo, decodeIngest } from './records.ts';
export type { IngestRecord } from './records.ts';
export type * from './content.ts';
