export { parseArguments } from './arguments.ts';
export type { ShimAction, ShimArguments } from './arguments.ts';
export { lineLog } from './log.ts';
export type { LogFields, ShimLog } from './log.ts';
export { parseExitRecord, readExitRecord } from './process/exit-record.ts';
export type { ExitRecord } from './process/exit-record.ts';
export { runShim } from './run-shim.ts';
export type { Bootstrap, ShimOptions } from './run-shim.ts';
