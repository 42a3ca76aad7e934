export { absentCgroup } from './absent.ts';
export * from './cgroup.ts';
export { detectCgroups, hierarchyFrom } from './hierarchy.ts';
export type { CgroupCalls, CgroupHierarchy, CgroupMount } from './hierarchy.ts';
export * from './metrics-v1.ts';
export * from './metrics-v2.ts';
export { cgroupFromPaths, openCgroup } from './open.ts';
export { ownCgroupPaths, parseCgroupFile } from './own-paths.ts';
