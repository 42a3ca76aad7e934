export * from './content-store.ts';
export { decodeInfo, decodeIngest } from './records.ts';
export type { IngestRecord } from './records.ts';
export type * from './content.ts';
export type { LocalBlob } from './blob-files.ts';
export type { FarContent } from './far-content.ts';
export { noteYoungBuffers } from './young-buffers.ts';
