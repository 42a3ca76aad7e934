/** Flags of clone(2), unshare(2) and setns(2), wait options and id kinds (wait(2), ioprio_set(2)). */

export const CLONE_NEWTIME = 0x00000080;
export const CLONE_VM = 0x00000100;
export const CLONE_FS = 0x00000200;
export const CLONE_FILES = 0x00000400;
export const CLONE_VFORK = 0x00004000;
export const CLONE_PARENT = 0x00008000;
export const CLONE_NEWNS = 0x00020000;
export const CLONE_NEWCGROUP = 0x02000000;
export const CLONE_NEWUTS = 0x04000000;
export const CLONE_NEWIPC = 0x08000000;
export const CLONE_NEWUSER = 0x10000000;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNET = 0x40000000;

/** clone3(2) only: the child is born in a cgroup v2. */
/** clone3(2): signals with a handler get their default action in the child. */
export const CLONE_CLEAR_SIGHAND = 0x1_0000_0000n;
export const CLONE_INTO_CGROUP = 0x2_0000_0000n;

export const WNOHANG = 1;
export const WUNTRACED = 2;
/** Waits for children whatever their exit signal is, those made with CLONE_PARENT included. */
export const __WALL = 0x40000000;

export const IOPRIO_WHO_PROCESS = 1;
export const IOPRIO_WHO_PGRP = 2;
export const IOPRIO_WHO_USER = 3;
/** The class is in the upper three bits of the priority. */
export const IOPRIO_CLASS_SHIFT = 13;
export const IOPRIO_CLASS_NONE = 0;
export const IOPRIO_CLASS_RT = 1;
export const IOPRIO_CLASS_BE = 2;
export const IOPRIO_CLASS_IDLE = 3;

/** personality(2). */
export const PER_LINUX = 0x0000;
export const PER_LINUX32 = 0x0008;

/** Scheduling policies and flags of sched_setattr(2). */
export const SCHED_OTHER = 0;
export const SCHED_FIFO = 1;
export const SCHED_RR = 2;
export const SCHED_BATCH = 3;
export const SCHED_IDLE = 5;
export const SCHED_DEADLINE = 6;
