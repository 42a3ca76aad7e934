export * from './harness/command.ts';
export * from './harness/gantryd.ts';
export * from './harness/leaks.ts';
export * from './harness/scratch.ts';
export * from './harness/stock.ts';
export * from './harness/tarball.ts';
export * from './harness/pair.ts';
export * from './harness/rpc.ts';
