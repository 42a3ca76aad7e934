/** Exec: one more process in a running container. Parent's side; the child's is init/exec.ts. */
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { ownCgroupPaths } from '@gantry/cgroups';
import { failedPrecondition } from '@gantry/errors';
import {
  AT_FDCWD,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUSER,
  eventLoopDescriptors,
  isErrno,
  O_DIRECTORY,
  O_PATH,
  POLLIN,
} from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { adoptBorn, Child } from './child.ts';
import { CleanUp, Descriptors } from './clean-up.ts';
import type { ExecRequest, ExecutedProcess } from './container.ts';
import { Deadline, openChannel, ParentChannel } from './handshake.ts';
import { birthError, hiddenClone } from './hidden-clone.ts';
import { hostCgroups } from './host-cgroups.ts';
import { completeSetUp } from './set-up.ts';
import { runExec } from './init/exec.ts';
import type { ExecPlan } from './init/exec.ts';
import type { ContainerParts } from './container-parts.ts';
import { cloneInPidNamespace } from './namespaces/join.ts';
import { hostId } from './namespaces/user-mappings.ts';
import { planProcess } from './process/plan.ts';
import { ownStdio, withDescriptor } from './process/stdio.ts';
import { joinResctrl } from './resctrl.ts';
import { isUnprivileged } from './rootless.ts';
import { asksAgent, sendListener } from './seccomp-agent.ts';
import type { AgentSubject } from './seccomp-agent.ts';
import { validateProcess } from './validate.ts';

/**
 * Joins the container's namespaces and control group with a new process and executes the program in it. Returns when
 * execve(2) has succeeded; the process is the caller's to reap. After a failure there is none.
 */
export function execInContainer(sys: Syscalls, parts: ContainerParts, request: ExecRequest): ExecutedProcess {
  const { spec, child: init } = parts;
  const cgroup = request.cgroup ?? parts.cgroup;
  validateProcess(request.process, 'exec process');
  using descriptors = new Descriptors(sys);
  // Opened before it is known that init lives, so that it is init's.
  const initRoot = (parts.namespaceFlags & CLONE_NEWNS) === 0 ? descriptors.keep(openRootOf(sys, init.pid)) : undefined;
  const plan = planProcess(spec, request.process, 'exec process');
  const [ended = 0] = sys.poll([{ fd: init.pidfd, events: POLLIN }], 0);
  if (ended !== 0) throw failedPrecondition('cannot exec in a stopped container');
  // The new process would be frozen half-way.
  if (request.ignorePaused !== true && parts.cgroup.isFrozen()) {
    throw failedPrecondition('cannot exec in a paused container (use --ignore-paused to override)');
  }
  if (!plan.terminal) ownStdio(sys, request.stdio, hostId(spec.linux?.uidMappings, plan.uid) ?? plan.uid);
  const deadline = new Deadline(request.timeoutMs);
  const cleanUp = new CleanUp();
  try {
    const { parentFd, childFd } = openChannel(sys);
    const channel = new ParentChannel(sys, parentFd);
    cleanUp.add(() => channel.close());
    descriptors.keep(childFd);
    const limitsByParent = (parts.namespaceFlags & CLONE_NEWUSER) !== 0;
    const killsBefore = cgroup.oomKills();
    const byOwner = limitsByParent && isUnprivileged();
    const first = giveBirth(sys, parts, {
      id: parts.id,
      process: plan,
      stdio: request.stdio,
      initPidfd: init.pidfd,
      namespaceFlags: parts.namespaceFlags,
      initRoot,
      cgroup,
      unifiedDone: false,
      noNewKeyring: parts.noNewKeyring,
      limitsByParent,
      byOwner,
      keptDescriptors: withDescriptor(eventLoopDescriptors(), childFd),
      preservedFds: request.preservedFds ?? 0,
      parentFd,
      childFd,
    });
    const child = byOwner ? adoptBorn(sys, first, channel, deadline) : first;
    cleanUp.add(() => child.destroy());
    joinResctrl(spec.linux?.intelRdt, parts.id, child.pid);
    descriptors.close(childFd);
    const console = completeSetUp(sys, {
      child,
      channel,
      deadline,
      // It has done that itself, as far as its owner may.
      plan: byOwner ? { ...plan, oomScoreAdj: undefined } : plan,
      cleanUp,
      cgroup,
      limitsByParent,
      killsBefore,
      passListener: asksAgent(spec.linux?.seccomp)
        ? (message) => sendListener(sys, child, message, subjectOf(parts), deadline)
        : undefined,
      last: 'executing',
    });
    channel.close();
    sys.close(child.pidfd);
    return { pid: child.pid, startTime: child.startTime, console };
  } catch (err) {
    cleanUp.run();
    throw err;
  }
}

function openRootOf(sys: Syscalls, pid: number): number {
  try {
    return sys.openat(AT_FDCWD, `/proc/${pid}/root`, O_PATH | O_DIRECTORY);
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ESRCH')) throw failedPrecondition('cannot exec in a stopped container');
    throw err;
  }
}

function subjectOf({ id, bundle, spec, child }: ContainerParts): AgentSubject {
  return { id, bundle, spec, status: 'running', initPid: child.pid };
}

function giveBirth(sys: Syscalls, parts: ContainerParts, plan: ExecPlan): Child {
  const cgroupFd = plan.cgroup.cloneIntoFd();
  try {
    return new Child(sys, cloneInto(sys, parts, plan, cgroupFd));
  } catch (err) {
    // The container's init has made groups of its own and moved into one of them: the group itself takes no more
    // processes (cgroups(7), "no internal processes"). The new one goes where init is.
    if (
      cgroupFd === undefined ||
      parts.cgroup.mode !== 'unified' ||
      !isErrno(rootCause(err), 'EBUSY', 'ENODEV', 'EOPNOTSUPP')
    )
      throw err;
    const initGroup = openGroupOf(parts.child.pid);
    try {
      return new Child(sys, cloneInto(sys, parts, plan, initGroup));
    } finally {
      closeSync(initGroup);
    }
  } finally {
    if (cgroupFd !== undefined) sys.close(cgroupFd);
  }
}

function cloneInto(sys: Syscalls, parts: ContainerParts, plan: ExecPlan, cgroupFd: number | undefined): number {
  const make = (): number => hiddenClone(sys, 0, cgroupFd);
  let pid: number;
  try {
    const joinsPid = (parts.namespaceFlags & CLONE_NEWPID) !== 0 && !plan.byOwner;
    pid = joinsPid ? cloneInPidNamespace(sys, parts.child.pidfd, make) : make();
  } catch (err) {
    // The kernel's answer for a pid namespace whose init has ended.
    if (isErrno(err, 'ENOMEM', 'ESRCH')) throw failedPrecondition('cannot exec in a stopped container');
    throw birthError(err);
  }
  if (pid === 0) return runExec(sys, { ...plan, unifiedDone: cgroupFd !== undefined });
  return pid;
}

function rootCause(err: unknown): unknown {
  return err instanceof Error && err.cause !== undefined ? rootCause(err.cause) : err;
}

function openGroupOf(pid: number): number {
  const path = ownCgroupPaths(pid).get('') ?? '/';
  const root = hostCgroups().unified?.directory ?? '/sys/fs/cgroup';
  return openSync(join(root, path), constants.O_RDONLY | constants.O_DIRECTORY);
}
