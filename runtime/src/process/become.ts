/**
 * The last part of a process's way, the same for init and for exec: from the runtime's identity to the user's program.
 *
 *   prepareIdentity   no new privileges, scheduling          still privileged, before `ready`
 *   takeIdentity      bounding set, groups, gid, uid, sets   after the parent has set the limits
 *   execute           seccomp, ambient set, execve           nothing in between that a filter could forbid
 *
 * Seccomp without no_new_privs needs CAP_SYS_ADMIN: that one capability is kept until the filter is installed and given
 * up directly after it, so that the filter sees as few of our own calls as possible (capset, prctl, execve).
 */
import { failedPrecondition, internal, wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  isErrno,
  O_DIRECTORY,
  O_PATH,
  PR_SET_KEEPCAPS,
  PR_SET_NO_NEW_PRIVS,
  RESOLVE_NO_MAGICLINKS,
} from '@gantry/libc';
import type { FileCalls, MountCalls, ProcessCalls } from '@gantry/libc';
import type { ChildChannel } from '../handshake.ts';
import { applyAmbient, applySets, CAP_SYS_ADMIN_BIT, dropBounding } from './capabilities.ts';
import { executeError, findExecutable } from './executable.ts';
import { lowerOwnLimits } from './limits.ts';
import { applyMemoryPolicy } from './placement.ts';
import type { ProcessPlan } from './plan.ts';
import { applyScheduling } from './scheduling.ts';

export type BecomeCalls = ProcessCalls &
  Pick<FileCalls, 'openat' | 'openat2' | 'close' | 'dup' | 'fstatat' | 'fstatatIfPresent' | 'read' | 'write'> &
  Pick<MountCalls, 'fchdir' | 'getcwd'>;

export function prepareIdentity(sys: BecomeCalls, plan: ProcessPlan): void {
  if (plan.noNewPrivileges) sys.prctl(PR_SET_NO_NEW_PRIVS, 1n);
  sys.umask(plan.umask);
  applyScheduling(sys, plan);
  applyMemoryPolicy(sys, plan.memoryPolicy);
}

/** Returns the program's path, found as the user and in the working directory that the program will have. */
export function takeIdentity(sys: BecomeCalls, plan: ProcessPlan): string {
  const entered = tryEnterDirectory(sys, plan.cwd);
  dropBounding(sys, plan.capabilities.bounding, plan.lastCapability);
  sys.prctl(PR_SET_KEEPCAPS, 1n);
  identify(() => setGroups(sys, plan), 'setting additional groups');
  identify(() => sys.setresgid(plan.gid, plan.gid, plan.gid), `setting gid ${plan.gid}`);
  identify(() => sys.setresuid(plan.uid, plan.uid, plan.uid), `setting uid ${plan.uid}`);
  // A directory that only its owner may enter, on a file system that knows no superuser.
  if (!entered) enterDirectory(sys, plan.cwd);
  checkInside(sys);
  sys.prctl(PR_SET_KEEPCAPS, 0n);
  applySets(sys, plan.capabilities, keptForSeccomp(plan));
  return findExecutable(sys, plan.args[0] ?? '', plan.env);
}

/**
 * Never returns: either the process is another program now, or it throws why not. `channel` is for a filter whose listener
 * goes to an agent (seccomp-agent.ts).
 */
export function execute(sys: BecomeCalls, plan: ProcessPlan, path: string, channel?: ChildChannel): never {
  lowerOwnLimits(sys, plan.limits);
  if (keptForSeccomp(plan) === 0n) applyAmbient(sys, plan.capabilities, plan.lastCapability);
  if (plan.seccomp !== undefined) {
    try {
      const { asksAgent, sendsListener, flags, program } = plan.seccomp;
      if (asksAgent && !sendsListener) announceListener(sys, channel);
      const listener = sys.seccompSetFilter(flags, program);
      if (asksAgent && sendsListener) channel?.send({ kind: 'listener', fd: listener }, [listener]);
      if (asksAgent) channel?.awaitAnything();
    } catch (err) {
      throw wrap(err, 'unable to init seccomp');
    }
  }
  if (keptForSeccomp(plan) !== 0n) {
    applySets(sys, plan.capabilities);
    applyAmbient(sys, plan.capabilities, plan.lastCapability);
  }
  try {
    return sys.execve(path, plan.args, plan.env);
  } catch (err) {
    throw executeError(err, path);
  }
}

/** The descriptor will be the first one that is free. */
function announceListener(sys: BecomeCalls, channel: ChildChannel | undefined): void {
  const fd = sys.dup(0);
  sys.close(fd);
  channel?.send({ kind: 'listener', fd });
}

/** The capability that installing the filter needs beyond the process's own. */
function keptForSeccomp({ seccomp, noNewPrivileges, capabilities }: ProcessPlan): bigint {
  if (seccomp === undefined || noNewPrivileges) return 0n;
  return CAP_SYS_ADMIN_BIT & ~capabilities.effective;
}

/** A user namespace with `setgroups` denied (user_namespaces(7)) is no hindrance to having none. */
function setGroups(sys: BecomeCalls, { groups, groupsAreGone }: ProcessPlan): void {
  try {
    sys.setgroups(groups);
  } catch (err) {
    if (groups.length > 0 || !groupsAreGone || !isErrno(err, 'EPERM')) throw err;
  }
}

function identify(call: () => void, doing: string): void {
  try {
    call();
  } catch (err) {
    throw wrap(err, doing);
  }
}

function tryEnterDirectory(sys: BecomeCalls, cwd: string): boolean {
  try {
    enterDirectory(sys, cwd);
    return true;
  } catch (err) {
    if (isErrno(err, 'EACCES', 'EPERM')) return false;
    throw wrap(err, `chdir to cwd (${JSON.stringify(cwd)}) set in config.json failed`);
  }
}

/**
 * By descriptor and never through a magic link: /proc/self/fd/N would be a directory that some descriptor of ours
 * happens to refer to, the host's among them (CVE-2024-21626).
 */
function enterDirectory(sys: BecomeCalls, cwd: string): void {
  const fd = sys.openat2(AT_FDCWD, cwd, {
    flags: O_PATH | O_DIRECTORY,
    resolve: RESOLVE_NO_MAGICLINKS,
  });
  try {
    sys.fchdir(fd);
  } finally {
    sys.close(fd);
  }
}

/** The kernel names a directory outside of the root `(unreachable)/…`; glibc makes ENOENT of it. */
function checkInside(sys: BecomeCalls): void {
  let cwd: string;
  try {
    cwd = sys.getcwd();
  } catch (err) {
    if (isErrno(err, 'ENOENT')) {
      throw failedPrecondition('current working directory is outside of container mount namespace root');
    }
    throw internal(`getcwd: ${String(err)}`);
  }
  if (cwd.startsWith('/')) return;
  throw failedPrecondition('current working directory is outside of container mount namespace root');
}
