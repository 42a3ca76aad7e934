export * from './error.ts';
export * from './status.ts';
