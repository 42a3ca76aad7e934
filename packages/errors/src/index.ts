export * from './error.ts';
export * from './status.ts';
export * from './io-error.ts';
export { failpoint, failpointEnvironment } from './failpoints.ts';
