export { compress, decompress, detectCompression } from './compression.ts';
export type * from './entry.ts';
export * from './read-tar.ts';
export * from './tar-parser.ts';
export * from './tar-writer.ts';
export { throughCommand } from './transform.ts';
export type { Filter } from './transform.ts';
