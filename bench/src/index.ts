export * from './options.ts';
export * from './plan.ts';
export * from './results.ts';
export * from './statistics.ts';
export * from './targets.ts';
