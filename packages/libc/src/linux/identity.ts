/** Credentials, limits and scheduling of a process, and its seccomp filter. */
import { SECCOMP_SET_MODE_FILTER } from '../constants/seccomp.ts';
import { addressOf, check, cString, declare } from '../native.ts';
import { NR } from '../syscall-numbers.ts';
import type { ProcessCalls } from '../syscalls.ts';

const c = declare('glibc', {
  // int prctl(int option, unsigned long arg2, …)
  prctl: 'int prctl(int option, ulong a, ulong b, ulong d, ulong e)',
  // mode_t umask(mode_t mask)
  umask: 'uint umask(uint mask)',
  // int prlimit(pid_t pid, int resource, const struct rlimit *new, struct rlimit *old); 16 bytes each, ours
  prlimit: 'int prlimit(int pid, int resource, void *limit, void *old)',
  // int personality(unsigned long persona)
  personality: 'int personality(ulong persona)',
  // The id calls are made directly: glibc's functions signal every thread of the process to do the same, and a child
  // made by clone(2) still believes in its parent's threads.
  // long syscall(SYS_setgroups, int size, const gid_t *list); list is ours, 4 bytes each
  setgroups: 'long syscall(long nr, int size, void *list)',
  // long syscall(SYS_setresuid | SYS_setresgid, real, effective, saved)
  setres: 'long syscall(long nr, int real, int effective, int saved)',
  // long syscall(SYS_capget | SYS_capset, struct __user_cap_header *, struct __user_cap_data[2]); 8 and 24 bytes, ours
  cap: 'long syscall(long nr, void *header, void *data)',
  // long syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, const char *name); null is an anonymous keyring
  keyctl: 'long syscall(long nr, int operation, const char *name)',
  // long syscall(SYS_sched_setattr, pid_t pid, struct sched_attr *attr, unsigned flags); attr is the caller's
  schedSetattr: 'long syscall(long nr, int pid, void *attr, uint flags)',
  // long syscall(SYS_ioprio_set, int which, int who, int ioprio)
  ioprioSet: 'long syscall(long nr, int which, int who, int ioprio)',
  // long syscall(SYS_seccomp, unsigned operation, unsigned flags, const struct sock_fprog *program); 16 bytes, ours
  seccomp: 'long syscall(long nr, uint operation, uint flags, void *program)',
});

const KEYCTL_JOIN_SESSION_KEYRING = 1;
const CAPABILITY_VERSION_3 = 0x20080522;
const SOCK_FILTER_BYTES = 8;

/** Scratch memory of calls that leave nothing in it for later. */
const capabilityData = Buffer.alloc(24);
const limitPair = Buffer.alloc(16);
const filterHead = Buffer.alloc(16);
const header = Buffer.alloc(8);

/** struct __user_cap_header_struct of the caller itself: version, pid. The kernel writes the version it knows into it. */
function capabilityHeader(): Buffer {
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  header.writeUInt32LE(0, 4);
  return header;
}

export const identityCalls: Pick<
  ProcessCalls,
  | 'prctl'
  | 'umask'
  | 'setgroups'
  | 'setresuid'
  | 'setresgid'
  | 'capget'
  | 'capset'
  | 'setResourceLimit'
  | 'getResourceLimit'
  | 'personality'
  | 'joinSessionKeyring'
  | 'schedSetattr'
  | 'ioprioSet'
  | 'seccompSetFilter'
> = {
  prctl: (option, arg2 = 0n, arg3 = 0n, arg4 = 0n, arg5 = 0n) =>
    check(c.prctl(option, arg2, arg3, arg4, arg5), 'prctl', `option ${option}`),

  umask: (mask) => c.umask(mask),

  setgroups(gids) {
    const list = Buffer.alloc(gids.length * 4);
    for (const [index, gid] of gids.entries()) list.writeUInt32LE(gid, index * 4);
    check(c.setgroups(NR.setgroups, gids.length, list), 'setgroups', gids.join(','));
  },

  setresuid(real, effective, saved) {
    const result = c.setres(NR.setresuid, real | 0, effective | 0, saved | 0);
    check(result, 'setresuid', `${real},${effective},${saved}`);
  },

  setresgid(real, effective, saved) {
    const result = c.setres(NR.setresgid, real | 0, effective | 0, saved | 0);
    check(result, 'setresgid', `${real},${effective},${saved}`);
  },

  capget() {
    const data = capabilityData;
    check(c.cap(NR.capget, capabilityHeader(), data), 'capget', '');
    // Two records of three words: the low halves of the sets, then the high halves.
    const wide = (offset: number): bigint =>
      BigInt(data.readUInt32LE(offset)) | (BigInt(data.readUInt32LE(offset + 12)) << 32n);
    return { effective: wide(0), permitted: wide(4), inheritable: wide(8) };
  },

  capset(sets) {
    const data = capabilityData;
    for (const [index, set] of [sets.effective, sets.permitted, sets.inheritable].entries()) {
      data.writeUInt32LE(Number(set & 0xffff_ffffn), index * 4);
      data.writeUInt32LE(Number((set >> 32n) & 0xffff_ffffn), index * 4 + 12);
    }
    check(c.cap(NR.capset, capabilityHeader(), data), 'capset', '');
  },

  setResourceLimit(pid, resource, limit) {
    const value = limitPair;
    value.writeBigUInt64LE(limit.soft, 0);
    value.writeBigUInt64LE(limit.hard, 8);
    check(c.prlimit(pid, resource, value, null), 'prlimit', `resource ${resource} of pid ${pid}`);
  },

  getResourceLimit(pid, resource) {
    const value = limitPair;
    check(c.prlimit(pid, resource, null, value), 'prlimit', `resource ${resource} of pid ${pid}`);
    return { soft: value.readBigUInt64LE(0), hard: value.readBigUInt64LE(8) };
  },

  personality(persona) {
    check(c.personality(persona), 'personality', `0x${persona.toString(16)}`);
  },

  joinSessionKeyring(name) {
    const keyring = name === '' ? null : cString(name, 'keyctl');
    return check(c.keyctl(NR.keyctl, KEYCTL_JOIN_SESSION_KEYRING, keyring), 'keyctl', name);
  },

  schedSetattr(attr) {
    check(c.schedSetattr(NR.sched_setattr, 0, attr, 0), 'sched_setattr', '');
  },

  ioprioSet(which, who, priority) {
    check(c.ioprioSet(NR.ioprio_set, which, who, priority), 'ioprio_set', `priority ${priority}`);
  },

  seccompSetFilter(flags, program) {
    const head = filterHead;
    head.writeUInt16LE(program.length / SOCK_FILTER_BYTES);
    head.writeBigUInt64LE(addressOf(program), 8);
    const result = c.seccomp(NR.seccomp, SECCOMP_SET_MODE_FILTER, flags, head);
    // The program is named after the call too, so that it is not collected while only its address is known.
    return check(result, 'seccomp', `${program.length / SOCK_FILTER_BYTES} instructions`);
  },
};
