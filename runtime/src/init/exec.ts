/** What a process that is added to a running container does, in order; the same rules hold as for init (init.ts). */
import type { Cgroup } from '@gantry/cgroups';
import { wrap } from '@gantry/errors';
import { AT_FDCWD, CLONE_NEWPID, CLONE_NEWUSER, CLONE_PARENT, O_DIRECTORY, O_PATH } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Stdio } from '../container.ts';
import { ChildChannel } from '../handshake.ts';
import { applyAppArmor } from '../process/apparmor.ts';
import { execute, prepareIdentity, takeIdentity } from '../process/become.ts';
import { openConsole } from '../process/console.ts';
import { withHome } from '../process/environment.ts';
import { setLimits, setOomScore, setOwnOomScore } from '../process/limits.ts';
import { setAffinity } from '../process/placement.ts';
import type { ProcessPlan } from '../process/plan.ts';
import { applyLabel, labelKeys } from '../process/selinux.ts';
import { closeOthers, installStdio, installTerminal, reopenNull } from '../process/stdio.ts';
import { enterDirectoryAsRoot } from '../rootfs/pivot.ts';
import { giveUpGroups, joinKeyring } from './init.ts';

export interface ExecPlan {
  readonly id: string;
  readonly process: ProcessPlan;
  readonly stdio: Stdio;
  /** Of the container's init, whose namespaces are joined. */
  readonly initPidfd: number;
  /** CLONE_NEW* of the namespaces to join. The pid namespace was joined by being born. */
  readonly namespaceFlags: number;
  /** The root directory of a container that has no mount namespace of its own. */
  readonly initRoot: number | undefined;
  readonly cgroup: Cgroup;
  readonly unifiedDone: boolean;
  readonly noNewKeyring: boolean;
  /** See `InitPlan`. */
  readonly limitsByParent: boolean;
  /** The maker has no privileges but in the container's user namespace, which has to be entered first (rootless.ts). */
  readonly byOwner: boolean;
  /** What `closeOthers` leaves open. */
  readonly keptDescriptors: readonly number[];
  readonly preservedFds: number;
  readonly parentFd: number;
  readonly childFd: number;
}

/** Never returns. */
export function runExec(sys: Syscalls, plan: ExecPlan): never {
  const channel = new ChildChannel(sys, plan.childFd);
  try {
    sys.resetSignals();
    sys.close(plan.parentFd);
    if (plan.byOwner) enterAsOwner(sys, plan, channel);
    const env = setUp(sys, plan, channel);
    if (plan.limitsByParent) {
      channel.send({ kind: 'ready' });
      channel.expect('proceed');
    } else {
      setLimits(sys, 0, plan.process.limits);
    }
    const process = { ...plan.process, env };
    const path = takeIdentity(sys, process);
    channel.send({ kind: 'executing' });
    return execute(sys, process, path, channel);
  } catch (err) {
    channel.sendError(err);
    return sys.exitNow(1);
  }
}

/** Returns in a process that was born in the container's pid namespace; the one that bore it has ended. */
function enterAsOwner(
  sys: Syscalls,
  { process, cgroup, unifiedDone, initPidfd, namespaceFlags }: ExecPlan,
  channel: ChildChannel,
): void {
  // From the outside, and as long as it is the user's own process.
  cgroup.joinSelf({ unifiedDone });
  setOwnOomScore(sys, 'self', process.oomScoreAdj);
  sys.setns(initPidfd, CLONE_NEWUSER | (namespaceFlags & CLONE_NEWPID));
  const born = sys.clone(CLONE_PARENT);
  if (born === 0) return;
  channel.send({ kind: 'born', pid: born });
  sys.exitNow(0);
}

function setUp(sys: Syscalls, plan: ExecPlan, channel: ChildChannel): readonly string[] {
  try {
    return setUpSteps(sys, plan, channel);
  } catch (err) {
    throw wrap(err, 'error during container init');
  }
}

function setUpSteps(sys: Syscalls, plan: ExecPlan, channel: ChildChannel): readonly string[] {
  const { process, namespaceFlags } = plan;
  sys.setsid();
  installStdio(sys, process.terminal ? { stdin: -1, stdout: -1, stderr: -1 } : plan.stdio);
  setAffinity(sys, process.affinity?.initial);
  // By the host's paths, which are out of sight after the next step.
  if (!plan.byOwner) plan.cgroup.joinSelf({ unifiedDone: plan.unifiedDone });
  setAffinity(sys, process.affinity?.final);
  const proc = sys.openat(AT_FDCWD, '/proc', O_PATH | O_DIRECTORY);
  applyAppArmor(sys, proc, process);
  applyLabel(sys, proc, process.selinuxLabel);
  if (!plan.noNewKeyring) labelKeys(sys, proc, process.selinuxLabel);
  if (!plan.limitsByParent) setOomScore(sys, 'self', process.oomScoreAdj);
  // A user namespace may refuse it later on.
  if ((namespaceFlags & CLONE_NEWUSER) !== 0) giveUpGroups(sys, plan.byOwner);
  const joined = plan.byOwner ? CLONE_NEWPID | CLONE_NEWUSER : CLONE_NEWPID;
  if ((namespaceFlags & ~joined) !== 0) sys.setns(plan.initPidfd, namespaceFlags & ~joined);
  if ((namespaceFlags & CLONE_NEWUSER) !== 0) {
    sys.setresgid(0, 0, 0);
    sys.setresuid(0, 0, 0);
  }
  if (plan.initRoot !== undefined) enterDirectoryAsRoot(sys, plan.initRoot);
  if (!plan.noNewKeyring) joinKeyring(sys, plan.id);
  const root = sys.openat(AT_FDCWD, '/', O_PATH | O_DIRECTORY);
  if (process.terminal) {
    const { master, slave } = openConsole(sys, root, process);
    installTerminal(sys, slave);
    sys.setControllingTerminal(0);
    channel.send({ kind: 'console' }, [master]);
  } else {
    reopenNull(sys);
  }
  const env = withHome(sys, root, process.env, process.uid);
  closeOthers(sys, plan.keptDescriptors, plan.preservedFds);
  prepareIdentity(sys, process);
  return env;
}
