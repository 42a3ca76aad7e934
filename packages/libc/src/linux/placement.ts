/** Where a process runs and its memory lies, and taking a descriptor out of another process. */
import { check, declare } from '../native.ts';
import { NR } from '../syscall-numbers.ts';
import type { ProcessCalls } from '../syscalls.ts';

const c = declare('glibc', {
  // int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *mask); mask is the caller's
  schedSetaffinity: 'int sched_setaffinity(int pid, size_t size, void *mask)',
  // long syscall(SYS_set_mempolicy, int mode, const unsigned long *nodemask, unsigned long maxnode); the caller's
  setMempolicy: 'long syscall(long nr, int mode, void *nodemask, ulong maxnode)',
  // long syscall(SYS_pidfd_getfd, int pidfd, int targetfd, unsigned flags)
  pidfdGetfd: 'long syscall(long nr, int pidfd, int targetfd, uint flags)',
});

export const placementCalls: Pick<ProcessCalls, 'schedSetaffinity' | 'setMempolicy' | 'pidfdGetfd'> = {
  schedSetaffinity(pid, mask) {
    check(c.schedSetaffinity(pid, mask.length, mask), 'sched_setaffinity', `pid ${pid}`);
  },

  setMempolicy(mode, nodes) {
    // The kernel wants one bit more than it looks at.
    const bits = nodes.length === 0 ? 0 : nodes.length * 8 + 1;
    check(c.setMempolicy(NR.set_mempolicy, mode, nodes.length === 0 ? null : nodes, bits), 'set_mempolicy', `${mode}`);
  },

  pidfdGetfd: (pidfd, fd) => check(c.pidfdGetfd(NR.pidfd_getfd, pidfd, fd, 0), 'pidfd_getfd', fd),
};
