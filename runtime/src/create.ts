/** Create: from a bundle to a container whose init waits to be started. Parent's side; the child's is init/init.ts. */
import { failedPrecondition, internal, unknown, wrap } from '@gantry/errors';
import { detectCgroups, openCgroup } from '@gantry/cgroups';
import type { Cgroup, CgroupHierarchy } from '@gantry/cgroups';
import { isErrno, WNOHANG } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Process, Spec } from '@gantry/oci';
import { Child, reapIntermediate } from './child.ts';
import { CleanUp, Descriptors } from './clean-up.ts';
import type { Container, CreateRequest } from './container.ts';
import { LinuxContainer } from './linux-container.ts';
import { Deadline, openChannel, ParentChannel } from './handshake.ts';
import { hiddenClone } from './hidden-clone.ts';
import { runInit } from './init/init.ts';
import type { InitPlan } from './init/init.ts';
import { cloneInPidNamespace } from './namespaces/join.ts';
import { containerFlags, hasNew, planNamespaces } from './namespaces/plan.ts';
import type { NamespacePlan } from './namespaces/plan.ts';
import { hostId, writeMappings, writeOnce } from './namespaces/user-mappings.ts';
import { setLimits } from './process/limits.ts';
import { planProcess } from './process/plan.ts';
import type { ProcessPlan } from './process/plan.ts';
import { ownStdio } from './process/stdio.ts';
import type { RootfsPlan } from './rootfs/assemble.ts';
import type { CgroupView, V1Hierarchy } from './rootfs/cgroup-mount.ts';
import { rootPropagation } from './rootfs/mount-options.ts';
import { openRootfs, planMounts } from './rootfs/sources.ts';
import { removeState, writePid, writeState } from './state.ts';
import { validateCreate } from './validate.ts';

/** How long removing a control group may take when a create is undone. */
const CLEAN_UP_TIMEOUT_MS = 5000;

let hierarchy: CgroupHierarchy | undefined;

/** Where this host's control groups are; looked up once. */
export function hostCgroups(): CgroupHierarchy {
  hierarchy ??= detectCgroups();
  return hierarchy;
}

/**
 * Sets a container up: its namespaces, control group, root file system and identity, with init waiting for `start`.
 * `init.pid` and `state.json` are in the bundle then. Whatever fails, nothing is left: no process, no control group, no
 * descriptor, and no mount was ever made on the host.
 *
 * Throws invalid argument, not implemented or failed precondition for what the bundle asks and cannot have, deadline
 * exceeded after `timeoutMs`, and otherwise the error of the step that failed, worded as runc words it.
 */
export function createContainer(sys: Syscalls, request: CreateRequest): Container {
  const process = validateCreate(request);
  const deadline = new Deadline(request.timeoutMs);
  const cleanUp = new CleanUp();
  try {
    return make(sys, request, process, deadline, cleanUp);
  } catch (err) {
    cleanUp.run();
    throw err;
  }
}

function make(
  sys: Syscalls,
  request: CreateRequest,
  process: Process,
  deadline: Deadline,
  cleanUp: CleanUp,
): Container {
  const { id, bundle, spec, stdio } = request;
  using descriptors = new Descriptors(sys);
  const plan = planProcess(spec, process, 'process');
  const namespaces = planNamespaces(sys, spec, descriptors);
  const cgroup = openCgroup(hostCgroups(), spec.linux?.cgroupsPath ?? id);
  const rootfs = planRootfs(sys, request, cgroup, descriptors);
  const uid = hostId(spec.linux?.uidMappings, plan.uid) ?? plan.uid;
  if (!plan.terminal) ownStdio(sys, stdio, uid);

  writeState(bundle, { id, pid: 0, startTime: '', cgroupPaths: cgroup.paths() });
  cleanUp.add(() => removeState(bundle));
  makeCgroup(cgroup, spec, cleanUp);
  const cgroupFd = cgroup.cloneIntoFd();
  if (cgroupFd !== undefined) descriptors.keep(cgroupFd);

  const { parentFd, childFd } = openChannel(sys);
  const channel = new ParentChannel(sys, parentFd);
  descriptors.keep(childFd);
  cleanUp.add(() => channel.close());
  const initPlan: InitPlan = {
    id,
    spec,
    namespaces,
    process: plan,
    rootfs,
    stdio,
    cgroup,
    unifiedDone: cgroupFd !== undefined,
    cgroupFirst: namespaces.newCgroup || rootfs.mounts.some(({ type }) => type.startsWith('cgroup')),
    noNewKeyring: request.noNewKeyring ?? false,
    parentFd,
    childFd,
  };
  const child = giveBirth(sys, initPlan, cgroupFd, channel, deadline, descriptors);
  cleanUp.add(() => child.destroy());
  if (namespaces.newUser) {
    writeMappings(sys, child.pid, spec);
    channel.send('mapped');
  }
  const console = completeSetUp(sys, { child, channel, deadline, plan, cleanUp, cgroup, last: 'created' });
  writeState(bundle, { id, pid: child.pid, startTime: String(child.startTime), cgroupPaths: cgroup.paths() });
  writePid(bundle, child.pid);
  return new LinuxContainer(sys, {
    id,
    bundle,
    spec,
    child,
    channel,
    cgroup,
    console,
    hasPrivatePidNamespace: hasNew(spec, 'pid'),
    namespaceFlags: containerFlags(spec),
    noNewKeyring: initPlan.noNewKeyring,
    createTimeoutMs: request.timeoutMs,
  });
}

function makeCgroup(cgroup: Cgroup, spec: Spec, cleanUp: CleanUp): void {
  if (cgroup.exists()) {
    const members = cgroup.pids().length;
    if (members > 0) throw failedPrecondition(`container's cgroup is not empty: ${members} process(es) found`);
  }
  cleanUp.add(() => cgroup.remove(CLEAN_UP_TIMEOUT_MS));
  cgroup.create();
  cgroup.apply(spec.linux?.resources ?? {});
}

/** Returns the process that will be init; one that only gave birth to it has been reaped. */
function giveBirth(
  sys: Syscalls,
  plan: InitPlan,
  cgroupFd: number | undefined,
  channel: ParentChannel,
  deadline: Deadline,
  descriptors: Descriptors,
): Child {
  const pid = clone(sys, plan.namespaces, cgroupFd);
  if (pid === 0) return runInit(sys, plan);
  descriptors.close(plan.childFd);
  const first = new Child(sys, pid);
  if (!plan.namespaces.needsIntermediate) return first;
  let born: number;
  try {
    const message = first.receive(channel, deadline);
    if (message.kind !== 'born') throw internal(`container process said ${message.kind}, not its pid`);
    // Throws when it is not a child of ours.
    sys.wait4(message.pid, WNOHANG);
    born = message.pid;
  } catch (err) {
    first.destroy();
    throw startError(err);
  }
  reapIntermediate(sys, pid);
  sys.close(first.pidfd);
  return new Child(sys, born);
}

function clone(sys: Syscalls, plan: NamespacePlan, cgroupFd: number | undefined): number {
  // An intermediate process makes the namespaces in its turn.
  const flags = plan.needsIntermediate ? 0 : plan.cloneFlags;
  const make = (): number => hiddenClone(sys, flags, cgroupFd);
  try {
    if (plan.pid === undefined || plan.needsIntermediate) return make();
    return cloneInPidNamespace(sys, plan.pid.fd, make);
  } catch (err) {
    throw wrap(err, 'unable to start container process');
  }
}

interface SetUp {
  readonly child: Child;
  readonly channel: ParentChannel;
  readonly deadline: Deadline;
  readonly plan: ProcessPlan;
  readonly cleanUp: CleanUp;
  readonly cgroup: Cgroup;
  /** What ends the set-up: init says that it was created, an exec'd process becomes its program. */
  readonly last: 'created' | 'executed';
}

/** The parent's part of the handshake from the birth on. Returns the terminal's master, which is the caller's. */
export function completeSetUp(
  sys: Syscalls,
  { child, channel, deadline, plan, cleanUp, cgroup, last }: SetUp,
): number | undefined {
  const killsBefore = cgroup.oomKills();
  let console: number | undefined;
  try {
    let message = child.receive(channel, deadline);
    if (message.kind === 'console') {
      const { master } = message;
      console = master;
      cleanUp.add(() => sys.close(master));
      message = child.receive(channel, deadline);
    }
    if (message.kind !== 'ready') throw internal(`container process said ${message.kind}, not ready`);
    setLimits(sys, child.pid, plan.limits);
    setOomScore(sys, child.pid, plan.oomScoreAdj);
    channel.send('proceed');
    const end = channel.receive(deadline, child.pidfd);
    if (last === 'executed' && end.kind === 'eof') return console;
    if (end.kind === 'eof') throw internal('container process ended before it was created');
    if (end.kind !== last) throw internal(`container process said ${end.kind}, not ${last}`);
    return console;
  } catch (err) {
    const wasKilled = cgroup.oomKills() > killsBefore;
    throw startError(wasKilled ? wrap(err, 'possibly OOM-killed') : err);
  }
}

/** The words are runc's, which callers look for. */
export function startError(err: unknown): Error {
  return wrap(err, 'unable to start container process');
}

function setOomScore(sys: Syscalls, pid: number, score: number | undefined): void {
  if (score === undefined) return;
  try {
    writeOnce(sys, `/proc/${pid}/oom_score_adj`, String(score));
  } catch (err) {
    if (isErrno(err, 'EACCES')) {
      throw unknown(`process.oomScoreAdj: failed to update /proc/self/oom_score_adj: Permission denied`);
    }
    throw wrap(err, 'process.oomScoreAdj');
  }
}

function planRootfs(sys: Syscalls, request: CreateRequest, cgroup: Cgroup, descriptors: Descriptors): RootfsPlan {
  const { spec, bundle } = request;
  const { linux = {} } = spec;
  const propagation = rootPropagation(linux.rootfsPropagation);
  return {
    root: openRootfs(sys, request, propagation, descriptors),
    mounts: planMounts(sys, spec.mounts ?? [], bundle, propagation, descriptors),
    propagation,
    cgroup: cgroupView(spec, cgroup),
    devices: linux.devices ?? [],
    bindDevices: (linux.namespaces ?? []).some(({ type }) => type === 'user'),
    maskedPaths: linux.maskedPaths ?? [],
    readonlyPaths: linux.readonlyPaths ?? [],
    isReadonly: spec.root?.readonly ?? false,
    noPivot: request.noPivot ?? false,
  };
}

function cgroupView(spec: Spec, cgroup: Cgroup): CgroupView {
  const { mode, unified, controllers } = hostCgroups();
  const paths = cgroup.paths();
  const byMount = new Map<string, V1Hierarchy>();
  for (const [name, { directory: mount }] of controllers) {
    const known = byMount.get(mount);
    byMount.set(mount, {
      mount,
      controllers: [...(known?.controllers ?? []), name],
      directory: paths[name] ?? mount,
    });
  }
  return {
    isUnified: mode === 'unified',
    ownNamespace: (spec.linux?.namespaces ?? []).some(({ type }) => type === 'cgroup'),
    unifiedMount: unified?.directory,
    unifiedDirectory: paths[''],
    hierarchies: [...byMount.values()],
  };
}
