/** The real system calls. */
import { channelCalls } from './linux/channel.ts';
import { descriptorCalls } from './linux/descriptors.ts';
import { fileCalls } from './linux/file.ts';
import { identityCalls } from './linux/identity.ts';
import { lockCalls } from './linux/lock.ts';
import { mountCalls } from './linux/mount.ts';
import { placementCalls } from './linux/placement.ts';
import { processCalls } from './linux/process.ts';
import { terminalCalls } from './linux/terminal.ts';
import { xattrCalls } from './linux/xattr.ts';
import type { Syscalls } from './syscalls.ts';

/**
 * System calls of this machine's kernel. glibc is loaded at the first call; see `preload` for a process that forks.
 * Works unchanged in a child made by `fork` or `clone`: no call uses another thread.
 */
export const linux: Syscalls = {
  ...processCalls,
  ...placementCalls,
  ...identityCalls,
  ...mountCalls,
  ...fileCalls,
  ...lockCalls,
  ...xattrCalls,
  ...channelCalls,
  ...descriptorCalls,
  ...terminalCalls,
};
