/** Numbers of the system calls that are made by syscall(2) because not every glibc we run on has a function for them. */

const x64 = {
  rt_sigaction: 13,
  rt_sigprocmask: 14,
  clone: 56,
  getppid: 110,
  setgroups: 116,
  setresuid: 117,
  setresgid: 119,
  capget: 125,
  capset: 126,
  pivot_root: 155,
  gettid: 186,
  getdents64: 217,
  set_mempolicy: 238,
  keyctl: 250,
  ioprio_set: 251,
  mknodat: 259,
  kcmp: 312,
  sched_setattr: 314,
  seccomp: 317,
  bpf: 321,
  pidfd_send_signal: 424,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pidfd_open: 434,
  clone3: 435,
  close_range: 436,
  openat2: 437,
  pidfd_getfd: 438,
  mount_setattr: 442,
} as const;

export type SyscallName = keyof typeof x64;

const arm64: Readonly<Record<SyscallName, number>> = {
  rt_sigaction: 134,
  rt_sigprocmask: 135,
  clone: 220,
  getppid: 173,
  setgroups: 159,
  setresuid: 147,
  setresgid: 149,
  capget: 90,
  capset: 91,
  pivot_root: 41,
  gettid: 178,
  getdents64: 61,
  set_mempolicy: 237,
  keyctl: 219,
  ioprio_set: 30,
  mknodat: 33,
  kcmp: 272,
  sched_setattr: 274,
  seccomp: 277,
  bpf: 280,
  pidfd_send_signal: 424,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pidfd_open: 434,
  clone3: 435,
  close_range: 436,
  openat2: 437,
  pidfd_getfd: 438,
  mount_setattr: 442,
};

/** The table of each instruction set we run on, by Node's name for it. */
export const syscallNumbersByArch: Readonly<Record<string, Readonly<Record<SyscallName, number>>>> = { x64, arm64 };

/** The table of this process. On any other instruction set `native.ts` refuses to load, so that it is never used. */
export const NR: Readonly<Record<SyscallName, number>> = process.arch === 'arm64' ? arm64 : x64;
