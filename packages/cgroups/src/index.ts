export * from './cgroup.ts';
export * from './hierarchy.ts';
export * from './metrics-v1.ts';
export * from './metrics-v2.ts';
