export * from './collector.ts';
export * from './pace.ts';
