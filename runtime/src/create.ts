/** Create: from a bundle to a container whose init waits to be started. Parent's side; the child's is init/init.ts. */
import { failedPrecondition } from '@gantry/errors';
import { openCgroup, openSystemdCgroup } from '@gantry/cgroups';
import type { Cgroup, CgroupHierarchy } from '@gantry/cgroups';
import { eventLoopDescriptors } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Process, Spec } from '@gantry/oci';
import { adoptBorn, Child } from './child.ts';
import { CleanUp, Descriptors } from './clean-up.ts';
import type { Container, CreateRequest } from './container.ts';
import { LinuxContainer } from './linux-container.ts';
import { Deadline, openChannel, ParentChannel } from './handshake.ts';
import { hostCgroups } from './host-cgroups.ts';
import { birthError, hiddenClone } from './hidden-clone.ts';
import { hasHooks, runHooks } from './hooks.ts';
import type { HookSubject } from './hooks.ts';
import { poststopOf, runPoststop } from './poststop.ts';
import { runInit } from './init/init.ts';
import type { InitPlan } from './init/init.ts';
import { cloneInPidNamespace } from './namespaces/join.ts';
import { moveNetDevices } from './namespaces/net-devices.ts';
import { containerFlags, hasNew, planNamespaces } from './namespaces/plan.ts';
import type { NamespacePlan } from './namespaces/plan.ts';
import { hostId, writeMappings } from './namespaces/user-mappings.ts';
import { planProcess } from './process/plan.ts';
import { ownStdio, withDescriptor } from './process/stdio.ts';
import { joinResctrl, makeResctrl } from './resctrl.ts';
import { groupIfAllowed, isUnprivileged, mapUnprivileged } from './rootless.ts';
import type { RootfsPlan } from './rootfs/assemble.ts';
import { attachOnHost, detachFromHost, rootOnHost } from './rootfs/on-host.ts';
import { planRootfs } from './rootfs/plan.ts';
import { completeSetUp } from './set-up.ts';
import { removeState, writePid, writeState } from './state.ts';
import type { RuntimeState } from './state.ts';
import { validateCreate } from './validate.ts';

/** How long removing a control group may take when a create is undone. */
const CLEAN_UP_TIMEOUT_MS = 5000;

/**
 * Sets a container up: its namespaces, control group, root file system and identity, with init waiting for `start`.
 * `init.pid` and `state.json` are in the bundle then. Whatever fails, nothing is left: no process, no control group, no
 * descriptor, and no mount was ever made on the host.
 *
 * Throws invalid argument, not implemented or failed precondition for what the bundle asks and cannot have, deadline
 * exceeded after `timeoutMs`, and otherwise the error of the step that failed, worded as runc words it.
 */
export function createContainer(sys: Syscalls, request: CreateRequest): Container {
  return createIn(sys, hostCgroups(), request);
}

/** `createContainer` in given control group hierarchies. */
export function createIn(sys: Syscalls, hierarchy: CgroupHierarchy, request: CreateRequest): Container {
  const process = validateCreate(request);
  const deadline = new Deadline(request.timeoutMs);
  const cleanUp = new CleanUp();
  try {
    return createSteps(sys, hierarchy, request, process, deadline, cleanUp);
  } catch (err) {
    cleanUp.run();
    throw err;
  }
}

function createSteps(
  sys: Syscalls,
  hierarchy: CgroupHierarchy,
  request: CreateRequest,
  process: Process,
  deadline: Deadline,
  cleanUp: CleanUp,
): Container {
  const { id, bundle, spec, stdio, startListener, stateDir = bundle } = request;
  using descriptors = new Descriptors(sys);
  const plan = planProcess(spec, process, 'process');
  const namespaces = planNamespaces(sys, spec, descriptors);
  const rootless = request.rootless === true;
  const group = groupOf(hierarchy, request, rootless);
  const late = group.needsProcess === true;
  const cgroup = rootless && !late ? groupIfAllowed(hierarchy, group, spec, cleanUp) : group;
  // What an ordinary user may not do, his child may.
  const byChild = isUnprivileged();
  const openRootfs = (): RootfsPlan => planRootfs(sys, request, hierarchy, cgroup, descriptors);
  const rootfs = byChild ? openRootfs : openRootfs();
  const uid = hostId(spec.linux?.uidMappings, plan.uid) ?? plan.uid;
  if (!plan.terminal) ownStdio(sys, stdio, uid);

  const cgroupPaths = cgroup.paths();
  const belongings = makeBelongings(sys, request, rootfs, cleanUp);
  writeState(sys, stateDir, { id, pid: 0, startTime: '', cgroupPaths, ...belongings });
  cleanUp.add(() => removeState(sys, stateDir));
  const cgroupBeforeJoins = !late && namespaces.joins.some(({ type }) => type === 'mount');
  const cgroupFd = beginCgroup(cgroup, spec, cleanUp, { complete: cgroupBeforeJoins, rootless });
  if (cgroupFd !== undefined) descriptors.keep(cgroupFd);

  const { parentFd, childFd } = openChannel(sys);
  const channel = new ParentChannel(sys, parentFd);
  descriptors.keep(childFd);
  cleanUp.add(() => channel.close());
  const hooked = hasHooks(spec, 'prestart', 'createRuntime', 'createContainer');
  const initPlan: InitPlan = {
    id,
    bundle,
    spec,
    namespaces,
    process: plan,
    rootfs,
    stdio,
    cgroup,
    unifiedDone: cgroupFd !== undefined,
    groupFollows: late || (cgroup.mode !== 'unified' && !cgroupBeforeJoins),
    groupByParent: late,
    cgroupBeforeJoins,
    // Hooks look at the process's group as well.
    cgroupFirst:
      hooked || namespaces.newCgroup || (spec.mounts ?? []).some(({ type = '' }) => type.startsWith('cgroup')),
    limitsByParent: namespaces.newUser || namespaces.user !== undefined,
    keptDescriptors: keptDescriptors(childFd, startListener),
    preservedFds: request.preservedFds ?? 0,
    startListener,
    noNewKeyring: request.noNewKeyring ?? false,
    parentFd,
    childFd,
  };
  const child = giveBirth(sys, initPlan, cgroupFd, channel, deadline, descriptors);
  cleanUp.add(() => child.destroy());
  joinResctrl(spec.linux?.intelRdt, id, child.pid);
  moveNetDevices(sys, spec.linux?.netDevices ?? {}, child.pid, namespaces);
  if (namespaces.newUser) {
    if (byChild) mapUnprivileged(sys, child.pid, spec, plan.oomScoreAdj);
    else writeMappings(sys, child.pid, spec);
    channel.send('mapped');
  }
  // What follows happens while the child mounts.
  if (initPlan.groupFollows) {
    finishCgroup(cgroup, spec, rootless, late ? child.pid : undefined);
    channel.send('grouped');
  }
  writeState(sys, stateDir, { id, pid: child.pid, startTime: String(child.startTime), cgroupPaths, ...belongings });
  writePid(sys, stateDir, child.pid);
  const console = completeSetUp(sys, {
    child,
    channel,
    deadline,
    plan: byChild ? { ...plan, oomScoreAdj: undefined } : plan,
    cleanUp,
    cgroup,
    limitsByParent: initPlan.limitsByParent,
    runHooks: hooked ? () => runRuntimeHooks(sys, { id, bundle, spec, pid: child.pid }) : undefined,
    // Nobody was in the group before.
    killsBefore: 0,
    last: 'created',
  });
  return new LinuxContainer(sys, {
    id,
    bundle,
    stateDir,
    spec,
    child,
    channel,
    cgroup,
    console,
    hasPrivatePidNamespace: hasNew(spec, 'pid'),
    namespaceFlags: containerFlags(spec),
    noNewKeyring: initPlan.noNewKeyring,
    hostRoot: belongings.hostRoot,
    resctrl: belongings.resctrl ?? [],
    createTimeoutMs: request.timeoutMs,
  });
}

/** What a container may have beside its processes and its group, as the state remembers it; undone by `cleanUp`. */
export type Belongings = Pick<RuntimeState, 'poststop' | 'hostRoot' | 'resctrl'>;

/** Makes them. */
export function makeBelongings(
  sys: Syscalls,
  request: CreateRequest,
  rootfs: InitPlan['rootfs'],
  cleanUp: CleanUp,
): Belongings {
  const atTheEnd = poststopOf(request);
  if (atTheEnd !== undefined) cleanUp.add(() => runPoststop(sys, atTheEnd));
  const rdt = request.spec.linux?.intelRdt;
  const hostRoot = rootOnHost(request);
  if (rdt === undefined && hostRoot === undefined) return atTheEnd ?? {};
  const resctrl = rdt && makeResctrl(rdt, request.id, cleanUp).made;
  if (hostRoot !== undefined) {
    if (typeof rootfs === 'function') throw failedPrecondition('a rootless container needs a mount namespace');
    attachOnHost(sys, rootfs.root, hostRoot);
    cleanUp.add(() => detachFromHost(sys, hostRoot));
  }
  return {
    ...atTheEnd,
    ...(hostRoot === undefined ? {} : { hostRoot }),
    ...(resctrl === undefined ? {} : { resctrl }),
  };
}

/** The hooks that are called in the runtime's namespaces before the container runs. */
export function runRuntimeHooks(sys: Syscalls, subject: HookSubject): void {
  runHooks(sys, 'prestart', subject, subject.bundle);
  runHooks(sys, 'createRuntime', subject, subject.bundle);
}

/**
 * What of the group must be there before a process can be born into it: on v2 all of it, on v1 only the tracking
 * directory, because the controllers' are joined later, unless it is to be `complete`. Returns a descriptor of the
 * birthplace.
 */
export function beginCgroup(
  cgroup: Cgroup,
  spec: Spec,
  cleanUp: CleanUp,
  { complete, rootless }: { readonly complete: boolean; readonly rootless: boolean },
): number | undefined {
  const members = cgroup.pids().length;
  if (members > 0) throw failedPrecondition(`container's cgroup is not empty: ${members} process(es) found`);
  cleanUp.add(() => cgroup.remove(CLEAN_UP_TIMEOUT_MS));
  if (cgroup.needsProcess === true) return undefined;
  if (complete || cgroup.mode === 'unified') finishCgroup(cgroup, spec, rootless);
  return cgroup.birthplace();
}

/** Where the configuration wants it: below systemd's, or by a path; without one below the runtime's own group. */
function groupOf(hierarchy: CgroupHierarchy, { id, spec, systemdCgroup }: CreateRequest, rootless: boolean): Cgroup {
  const unsafePath = spec.linux?.cgroupsPath ?? '';
  if (systemdCgroup !== true) return openCgroup(hierarchy, unsafePath === '' ? id : unsafePath);
  return openSystemdCgroup(hierarchy, { unsafePath, id, annotations: spec.annotations ?? {}, user: rootless });
}

function finishCgroup(cgroup: Cgroup, spec: Spec, rootless: boolean, member?: number): void {
  const { resources = {} } = spec.linux ?? {};
  cgroup.create(member);
  // Device rules are not for an ordinary user to make, and his containers can make no device.
  if (!rootless) cgroup.apply(resources);
  else if (cgroup.exists()) cgroup.update(resources);
}

function keptDescriptors(childFd: number, startListener: number | undefined): number[] {
  const kept = withDescriptor(eventLoopDescriptors(), childFd);
  return startListener === undefined ? kept : withDescriptor(kept, startListener);
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
  return adoptBorn(sys, first, channel, deadline);
}

function clone(sys: Syscalls, plan: NamespacePlan, cgroupFd: number | undefined): number {
  // An intermediate process makes the namespaces in its turn.
  const flags = plan.needsIntermediate ? 0 : plan.cloneFlags;
  // Its maps are written by way of /proc, which shows nothing of a hidden process to an ordinary user.
  const visible = plan.newUser && isUnprivileged();
  const make = (): number => (visible ? sys.clone(flags, cgroupFd) : hiddenClone(sys, flags, cgroupFd));
  try {
    if (plan.pid === undefined || plan.needsIntermediate) return make();
    return cloneInPidNamespace(sys, plan.pid.fd, make);
  } catch (err) {
    throw birthError(err);
  }
}
