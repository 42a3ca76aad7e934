/**
 * What a container's first process does, in order, from its birth by clone(2) to its execve(2).
 *
 * This code runs in a copy of the parent's JavaScript heap and must never return to its event loop: every path ends in
 * execve or exitNow. It opens nothing that it does not close, and says through the handshake what went wrong.
 */
import { wrap } from '@gantry/errors';
import type { Cgroup } from '@gantry/cgroups';
import {
  AT_FDCWD,
  CLONE_NEWCGROUP,
  CLONE_NEWPID,
  CLONE_PARENT,
  isErrno,
  O_DIRECTORY,
  O_PATH,
  PR_SET_DUMPABLE,
} from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import type { Stdio } from '../container.ts';
import { ChildChannel } from '../handshake.ts';
import { hasHooks, runHooks } from '../hooks.ts';
import type { HookSubject } from '../hooks.ts';
import { joinAll } from '../namespaces/join.ts';
import type { NamespacePlan } from '../namespaces/plan.ts';
import { writeSysctls } from '../namespaces/sysctl.ts';
import { enterNewTimeNamespace, makeTimeNamespace } from '../namespaces/time.ts';
import { applyAppArmor } from '../process/apparmor.ts';
import { execute, prepareIdentity, takeIdentity } from '../process/become.ts';
import { withHome } from '../process/environment.ts';
import { setLimits, setOomScore } from '../process/limits.ts';
import type { ProcessPlan } from '../process/plan.ts';
import { applyLabel, labelKeys } from '../process/selinux.ts';
import { closeOthers, installStdio, installTerminal, reopenNull } from '../process/stdio.ts';
import type { RootfsPlan } from '../rootfs/assemble.ts';
import { assembleRootfs, enterRootfs } from '../rootfs/assemble.ts';
import { awaitStart } from './start-gate.ts';

/** Everything the child needs, decided by the parent before it is born. */
export interface InitPlan {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  readonly namespaces: NamespacePlan;
  readonly process: ProcessPlan;
  /** A function where the child itself is the one who may open what the root is made of (rootless.ts). */
  readonly rootfs: RootfsPlan | (() => RootfsPlan);
  readonly stdio: Stdio;
  readonly cgroup: Cgroup;
  /** The child was born in the group's v2 directory. */
  readonly unifiedDone: boolean;
  /** The parent makes the group while the child works, and says when it can be joined. */
  readonly groupFollows: boolean;
  /** The group must be joined before the mounts, because one of them (or a namespace) shows it. */
  readonly cgroupFirst: boolean;
  /** Systemd has put the process into the group by the time it is told so. */
  readonly groupByParent: boolean;
  /** The group must be joined before any namespace: afterwards the mounts are others, and the host's paths out of sight. */
  readonly cgroupBeforeJoins: boolean;
  /** The parent sets limits and OOM score, because a user namespace takes the privileges to raise them away. */
  readonly limitsByParent: boolean;
  /** What `closeOthers` leaves open. */
  readonly keptDescriptors: readonly number[];
  /** See `CreateRequest`. */
  readonly preservedFds: number;
  readonly startListener: number | undefined;
  readonly noNewKeyring: boolean;
  readonly parentFd: number;
  readonly childFd: number;
}

/** Never returns. */
export function runInit(sys: Syscalls, plan: InitPlan): never {
  let channel = new ChildChannel(sys, plan.childFd);
  try {
    sys.resetSignals();
    sys.close(plan.parentFd);
    // The host's, which no mount of the container's covers.
    const proc = sys.openat(AT_FDCWD, '/proc', O_PATH | O_DIRECTORY);
    enterNamespaces(sys, plan, channel, proc);
    const env = setUp(sys, plan, channel, proc);
    if (plan.limitsByParent) {
      channel.send({ kind: 'ready' });
      channel.expect('proceed');
    } else {
      setLimits(sys, 0, plan.process.limits);
    }
    const process = { ...plan.process, env };
    const path = takeIdentity(sys, process);
    channel.send({ kind: 'created' });
    if (plan.startListener === undefined) channel.expect('start');
    else channel = awaitStart(sys, plan.startListener, plan.childFd);
    if (hasHooks(plan.spec, 'startContainer')) runHooks(sys, 'startContainer', subjectOf(sys, plan), plan.process.cwd);
    channel.send({ kind: 'executing' });
    return execute(sys, process, path, channel);
  } catch (err) {
    channel.sendError(err);
    return sys.exitNow(1);
  }
}

function enterNamespaces(sys: Syscalls, plan: InitPlan, channel: ChildChannel, proc: number): void {
  const { joins, user, pid, needsIntermediate, cloneFlags, newUser, newTime } = plan.namespaces;
  if (plan.cgroupBeforeJoins) joinGroup(plan, channel);
  if (!needsIntermediate) joinAll(sys, joins, undefined);
  else {
    if (pid !== undefined) sys.setns(pid.fd, CLONE_NEWPID);
    // Who is born is in it.
    if (newTime) makeTimeNamespace(sys, openSelf(sys, proc), plan.spec.linux?.timeOffsets);
    // A user namespace may refuse it later on.
    if (user !== undefined) giveUpGroups(sys, !isReady(plan));
    joinAll(sys, joins, user);
    const born = sys.clone((CLONE_PARENT | cloneFlags) >>> 0);
    if (born !== 0) {
      channel.send({ kind: 'born', pid: born });
      sys.exitNow(0);
    }
  }
  if (!newUser && user === undefined) return;
  if (newUser) channel.expect('mapped');
  // As long as this process has the host's id it may write the control groups' files.
  if (!plan.cgroupBeforeJoins) joinGroup(plan, channel);
  sys.setresgid(0, 0, 0);
  sys.setresuid(0, 0, 0);
  // An ordinary user's child was not hidden as long as its maps were to be written (hidden-clone.ts).
  if (newTime && !needsIntermediate) enterTimeAsRoot(sys, plan, proc);
  else if (!isReady(plan)) sys.prctl(PR_SET_DUMPABLE, 0n);
}

/**
 * A hidden process cannot open its own files of /proc for writing when it is not the host's root. It is shown for as long
 * as that takes: its user namespace is new, and nobody outside of it but the host's root may look into it.
 */
function enterTimeAsRoot(sys: Syscalls, { spec }: InitPlan, proc: number): void {
  sys.prctl(PR_SET_DUMPABLE, 1n);
  enterNewTimeNamespace(sys, openSelf(sys, proc), spec.linux?.timeOffsets);
  sys.prctl(PR_SET_DUMPABLE, 0n);
}

function openSelf(sys: Syscalls, proc: number): number {
  return sys.openat(proc, 'self', O_PATH | O_DIRECTORY);
}

/** An ordinary user may not and keeps what he has. */
export function giveUpGroups(sys: Syscalls, isUser: boolean): void {
  try {
    sys.setgroups([]);
  } catch (err) {
    if (!isUser || !isErrno(err, 'EPERM')) throw err;
  }
}

function joinGroup({ cgroup, groupFollows, groupByParent, unifiedDone }: InitPlan, channel: ChildChannel): void {
  if (groupFollows) channel.expect('grouped');
  if (!groupByParent) cgroup.joinSelf({ unifiedDone });
}

/** Returns the environment of the program. */
function setUp(sys: Syscalls, plan: InitPlan, channel: ChildChannel, proc: number): readonly string[] {
  try {
    return setUpSteps(sys, ready(plan), channel, proc);
  } catch (err) {
    throw wrap(err, 'error during container init');
  }
}

interface ReadyPlan extends InitPlan {
  readonly rootfs: RootfsPlan;
}

function isReady(plan: InitPlan): plan is ReadyPlan {
  return typeof plan.rootfs !== 'function';
}

function ready(plan: InitPlan): ReadyPlan {
  if (isReady(plan)) return plan;
  const { rootfs } = plan;
  return { ...plan, rootfs: typeof rootfs === 'function' ? rootfs() : rootfs };
}

function setUpSteps(sys: Syscalls, plan: ReadyPlan, channel: ChildChannel, proc: number): readonly string[] {
  const { spec, namespaces, process } = plan;
  // Those in a user namespace have joined it when they entered that.
  const groupIsDone = namespaces.newUser || namespaces.user !== undefined || plan.cgroupBeforeJoins;
  sys.setsid();
  sys.umask(0);
  installStdio(sys, process.terminal ? { stdin: -1, stdout: -1, stderr: -1 } : plan.stdio);
  if (!plan.noNewKeyring) {
    labelKeys(sys, proc, process.selinuxLabel);
    joinKeyring(sys, plan.id);
  }
  if (namespaces.newNetwork) sys.linkUp('lo');
  const timeIsDone = namespaces.newUser || namespaces.needsIntermediate;
  if (namespaces.newTime && !timeIsDone) enterNewTimeNamespace(sys, openSelf(sys, proc), spec.linux?.timeOffsets);
  if (!plan.limitsByParent) setOomScore(sys, 'self', process.oomScoreAdj);
  if (plan.cgroupFirst && !groupIsDone) joinGroup(plan, channel);
  if (namespaces.newCgroup) sys.unshare(CLONE_NEWCGROUP);

  const hooks = hasHooks(spec, 'prestart', 'createRuntime', 'createContainer');
  const assembled = assembleRootfs(
    sys,
    plan.rootfs,
    process,
    hooks ? () => runEarlyHooks(sys, plan, channel) : undefined,
  );
  if (assembled.console !== undefined) {
    const { master, slave } = assembled.console;
    installTerminal(sys, slave);
    sys.setControllingTerminal(0);
    channel.send({ kind: 'console' }, [master]);
  }
  if (spec.hostname !== undefined && spec.hostname !== '') sys.sethostname(spec.hostname);
  if (spec.domainname !== undefined && spec.domainname !== '') sys.setdomainname(spec.domainname);
  writeSysctls(sys, proc, spec.linux?.sysctl ?? {});
  applyAppArmor(sys, proc, process);
  applyLabel(sys, proc, process.selinuxLabel);
  // As late as the host's paths can still be seen: what the set-up has used is not charged to the container.
  if (!plan.cgroupFirst && !groupIsDone) joinGroup(plan, channel);
  enterRootfs(sys, plan.rootfs, assembled.root);
  const env = withHome(sys, assembled.root, process.env, process.uid);
  if (!process.terminal) reopenNull(sys);
  closeOthers(sys, plan.keptDescriptors, plan.preservedFds);
  prepareIdentity(sys, process);
  return env;
}

/** Those of the runtime's namespaces are for the parent to run. */
function runEarlyHooks(sys: Syscalls, plan: ReadyPlan, channel: ChildChannel): void {
  if (hasHooks(plan.spec, 'prestart', 'createRuntime')) {
    channel.send({ kind: 'hooks' });
    channel.expect('resume');
  }
  if (!hasHooks(plan.spec, 'createContainer')) return;
  runHooks(sys, 'createContainer', subjectOf(sys, plan), plan.rootfs.attachAt ?? '/');
}

function subjectOf(sys: Syscalls, { id, bundle, spec }: InitPlan): HookSubject {
  return { id, bundle, spec, pid: sys.getpid() };
}

/** A keyring of the container's own, so that it sees none of the runtime's keys (keyrings(7)). */
export function joinKeyring(sys: Syscalls, id: string): void {
  try {
    sys.joinSessionKeyring(`_ses.${id}`);
  } catch (err) {
    if (!isErrno(err, 'ENOSYS')) throw wrap(err, 'unable to join session keyring');
  }
}
