/** The kernel's constants, by topic; values from the kernel's user API headers of x86-64 and arm64. */
export * from './constants/capabilities.ts';
export * from './constants/clone.ts';
export * from './constants/file-system-magics.ts';
export * from './constants/mount.ts';
export * from './constants/open.ts';
export * from './constants/poll.ts';
export * from './constants/prctl.ts';
export * from './constants/resource-limits.ts';
export * from './constants/seccomp.ts';
export * from './constants/signals.ts';
