export * from './client.ts';
export { TtrpcStream } from './client-call.ts';
export { frameFlags, frameTypes, headerSize, maxDataBytes } from './frame.ts';
export type { CallContext, Handler, Handlers } from './handlers.ts';
export type { Metadata } from './metadata.ts';
export * from './server.ts';
export { socketPathOf } from './socket-path.ts';
