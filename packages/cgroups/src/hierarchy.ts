/** Which control group hierarchies the host has and where they are mounted: found once, then plain data. */
import type { Syscalls } from '@gantry/libc';
import type { CgroupMode } from './cgroup.ts';

/** The system calls that this room makes beside plain file operations. */
export type CgroupCalls = Pick<
  Syscalls,
  | 'bpf'
  | 'close'
  | 'eventfd'
  | 'inotifyAddWatch'
  | 'inotifyInit'
  | 'kill'
  | 'lgetxattr'
  | 'lsetxattr'
  | 'openat'
  | 'poll'
  | 'read'
>;

/** Where the control groups of this host are. */
export interface CgroupHierarchy {
  readonly mode: CgroupMode;
  /** Mount point of the v2 tree; absent on a legacy host. */
  readonly unified?: string;
  /** v1 controllers (`cpu`, `memory`, …, and named ones as `name=systemd`) → directory. Empty on a unified host. */
  readonly controllers: ReadonlyMap<string, string>;
  readonly sys: CgroupCalls;
}
