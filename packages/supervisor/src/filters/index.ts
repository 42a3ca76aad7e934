export * from './adaptors.ts';
export * from './compile.ts';
export * from './event-adaptor.ts';
