/**
 * Restore: a container from what a checkpoint has saved. criu makes its processes, which are children of the caller as
 * those of a created container are; the runtime gives what is not in the images: the root, the sources of bind mounts, the
 * control group, joined namespaces, the standard streams.
 *
 *   we                                                criu
 *   control group made, criu is born in it
 *   own mount namespace with the root (restore-root)  reads the images, makes the namespaces
 *   hooks prestart and createRuntime            ◄───  setup-namespaces
 *                                                     makes mounts, processes, memory
 *   the terminal's master                       ◄───  orphan-pts-master
 *   state.json, init.pid                        ◄───  the processes run on; criu ends
 */
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { ownCgroupPaths, openCgroup } from '@gantry/cgroups';
import type { Cgroup } from '@gantry/cgroups';
import { failedPrecondition, unknown } from '@gantry/errors';
import { AT_FDCWD, isErrno, O_RDWR, PR_SET_NO_NEW_PRIVS, SIGKILL, WNOHANG } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { Child } from './child.ts';
import { CleanUp, Descriptors } from './clean-up.ts';
import type { Container, CreateRequest } from './container.ts';
import { beginCgroup, makeBelongings, runRuntimeHooks } from './create.ts';
import { commonOptions, openDirectories, reopenDirectories } from './criu/directories.ts';
import type { CriuDirectories } from './criu/directories.ts';
import { hostMountsOf, namespacesToJoin, stdioToInherit } from './criu/externals.ts';
import type { CriuOptions } from './criu/messages.ts';
import { restoreLog } from './criu/options.ts';
import type { RestoreSettings } from './criu/options.ts';
import { bindsIn, enterRestoreRoot, nullDeviceIn, rootIn } from './criu/restore-root.ts';
import type { RestoreRoot } from './criu/restore-root.ts';
import { CriuSession, findCriu } from './criu/session.ts';
import { Deadline, ParentChannel } from './handshake.ts';
import { hostCgroups } from './host-cgroups.ts';
import { hasHooks } from './hooks.ts';
import { joinKeyring } from './init/init.ts';
import { LinuxContainer } from './linux-container.ts';
import { containerFlags, hasNew, namespaceOf } from './namespaces/plan.ts';
import { joinResctrl } from './resctrl.ts';
import { planRootfs } from './rootfs/plan.ts';
import { removeState, writePid, writeState } from './state.ts';
import { validateCreate } from './validate.ts';

export interface RestoreRequest extends Omit<CreateRequest, 'timeoutMs' | 'startListener' | 'preservedFds'> {
  readonly checkpoint: RestoreSettings;
}

/**
 * Returns when the processes run. Throws what `createContainer` throws for the bundle, not found when the images are not
 * there, failed precondition without criu, unknown with criu's own reasons; nothing is left then.
 */
export function restoreContainer(sys: Syscalls, request: RestoreRequest): Container {
  const cleanUp = new CleanUp();
  try {
    return restoreSteps(sys, request, cleanUp);
  } catch (err) {
    cleanUp.run();
    throw err;
  }
}

/** What criu has told of while it worked. */
interface Told {
  pid: number;
  console: number | undefined;
}

function restoreSteps(sys: Syscalls, request: RestoreRequest, cleanUp: CleanUp): Container {
  const { id, bundle, spec, checkpoint, stateDir = bundle } = request;
  const { timeoutMs } = checkpoint;
  validateCreate({ ...request, timeoutMs });
  const program = findCriu(checkpoint.criu);
  if (namespaceOf(spec, 'mount') === undefined) {
    throw failedPrecondition('a container without a mount namespace of its own cannot be restored');
  }
  const deadline = new Deadline(timeoutMs);
  using descriptors = new Descriptors(sys);
  const directories = openDirectories(sys, checkpoint, restoreLog, descriptors, { make: false });
  const hierarchy = hostCgroups();
  const groupPath = spec.linux?.cgroupsPath ?? '';
  const cgroup = openCgroup(hierarchy, groupPath === '' ? id : groupPath);
  const rootfs = planRootfs(sys, { ...request, timeoutMs }, hierarchy, cgroup, descriptors);
  const belongings = makeBelongings(sys, { ...request, timeoutMs }, rootfs, cleanUp);
  const cgroupPaths = cgroup.paths();
  writeState(sys, stateDir, { id, pid: 0, startTime: '', cgroupPaths, ...belongings });
  cleanUp.add(() => removeState(sys, stateDir));
  const cgroupFd = beginCgroup(cgroup, spec, cleanUp, { complete: true, rootless: false });
  if (cgroupFd !== undefined) descriptors.keep(cgroupFd);

  const root: RestoreRoot = { place: join(stateDir, 'criu'), root: rootfs.root, mounts: rootfs.mounts };
  mkdirSync(root.place, { recursive: true, mode: 0o700 });
  using _ = { [Symbol.dispose]: () => rmdirSync(root.place) };
  const nothing = descriptors.keep(sys.openat(AT_FDCWD, '/dev/null', O_RDWR));
  const namespaces = namespacesToJoin(sys, spec, descriptors);
  const streams = spec.process?.terminal === true ? { stdin: -1, stdout: -1, stderr: -1 } : request.stdio;
  const options: CriuOptions = {
    ...directories.options,
    ...commonOptions(checkpoint, spec),
    logFile: restoreLog,
    evasiveDevices: true,
    rstSibling: true,
    root: rootIn(root.place),
    inheritFd: [...namespaces.inherited, ...stdioToInherit(sys, checkpoint.imagePath, streams, nothing, descriptors)],
    joinNs: namespaces.joined,
    extMnt: [...bindsIn(root), ...hostMountsOf(spec, rootfs.cgroup, nullDeviceIn(root.place))],
    ...(checkpoint.lsmProfile === undefined ? {} : { lsmProfile: checkpoint.lsmProfile }),
    ...(checkpoint.lsmMountContext === undefined ? {} : { lsmMountContext: checkpoint.lsmMountContext }),
  };
  const told: Told = { pid: 0, console: undefined };
  cleanUp.add(() => endRestored(sys, cgroup, told));
  const pid = callCriu(sys, request, {
    program,
    stdin: streams.stdin,
    cgroup,
    cgroupFd,
    options,
    root,
    deadline,
    directories,
    told,
  });
  const child = new Child(sys, pid);
  joinResctrl(spec.linux?.intelRdt, id, pid);
  writeState(sys, stateDir, { id, pid, startTime: String(child.startTime), cgroupPaths, ...belongings });
  writePid(sys, stateDir, pid);
  return new LinuxContainer(sys, {
    id,
    bundle,
    stateDir,
    spec,
    child,
    channel: ParentChannel.closed(sys),
    cgroup,
    console: told.console,
    hasPrivatePidNamespace: hasNew(spec, 'pid'),
    namespaceFlags: containerFlags(spec),
    noNewKeyring: request.noNewKeyring ?? false,
    hostRoot: undefined,
    resctrl: belongings.resctrl ?? [],
    createTimeoutMs: timeoutMs,
  });
}

interface Call {
  readonly program: string;
  readonly stdin: number;
  readonly cgroup: Cgroup;
  readonly cgroupFd: number | undefined;
  readonly options: CriuOptions;
  readonly root: RestoreRoot;
  readonly deadline: Deadline;
  readonly directories: CriuDirectories;
  readonly told: Told;
}

/** Returns the pid of the restored init. */
function callCriu(sys: Syscalls, request: RestoreRequest, call: Call): number {
  const { cgroup, directories, options, root, told } = call;
  using session = CriuSession.start(
    sys,
    {
      program: call.program,
      stdin: call.stdin,
      inherited: [...directories.paths, ...(options.inheritFd ?? [])].map(({ fd }) => fd),
      cgroupFd: call.cgroupFd,
      prepare: () => {
        enterRestoreRoot(sys, root);
        reopenDirectories(sys, directories);
        beWhatIsNotSaved(sys, request);
      },
    },
    call.deadline,
  );
  if (cgroup.mode !== 'unified') cgroup.addProcess(session.pid);
  const cgRoot = cgroupRoots(session.pid, cgroup);
  const { restoredPid } = session.call(
    { type: 'restore', options: { ...options, cgRoot } },
    call.deadline,
    directories.logFile,
    (script, pid, fds) => {
      if (script === 'setup-namespaces') runHooksOf(sys, request, pid);
      if (script === 'orphan-pts-master') told.console ??= fds.shift();
      if (script === 'setup-namespaces' || script === 'post-restore') told.pid = pid;
    },
  );
  if (restoredPid <= 0) throw unknown('criu restored nothing');
  told.pid = restoredPid;
  return restoredPid;
}

/** What criu does not save and what its processes inherit from it: set in the process that becomes criu. */
function beWhatIsNotSaved(sys: Syscalls, { id, noNewKeyring, spec }: RestoreRequest): void {
  if (noNewKeyring !== true) joinKeyring(sys, id);
  if (spec.process?.noNewPrivileges === true) sys.prctl(PR_SET_NO_NEW_PRIVS, 1n);
}

/**
 * The new container's group takes the saved one's place, whatever that was called. criu is in it, so what the kernel says
 * of criu is what criu understands.
 */
function cgroupRoots(pid: number, cgroup: Cgroup): NonNullable<CriuOptions['cgRoot']> {
  const paths = [...ownCgroupPaths(pid)];
  if (cgroup.mode === 'unified') return paths.map(([, path]) => ({ path }));
  return paths.map(([controller, path]) => ({ controller, path }));
}

function runHooksOf(sys: Syscalls, { id, bundle, spec }: RestoreRequest, pid: number): void {
  if (hasHooks(spec, 'prestart', 'createRuntime')) runRuntimeHooks(sys, { id, bundle, spec, pid });
}

/** What a restore that failed has left: criu has killed most of it, and it is our children that it has made. */
function endRestored(sys: Syscalls, cgroup: Cgroup, { pid, console }: Told): void {
  if (console !== undefined) sys.close(console);
  if (cgroup.pids().length > 0) cgroup.killAll(SIGKILL);
  if (pid <= 0) return;
  try {
    sys.wait4(pid, WNOHANG);
  } catch (err) {
    if (!isErrno(err, 'ECHILD')) throw err;
  }
}
