/**
 * Checkpoint: criu saves a running container's processes to files, from which restore.ts makes them again.
 *
 *   request                     criu
 *   dump                        freezes the control group, saves, kills the processes unless they are to run on
 *   pre-dump                    saves memory and lets them run on; the next dump saves what has changed since
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { failedPrecondition, wrap } from '@gantry/errors';
import type { Syscalls } from '@gantry/libc';
import { Descriptors } from './clean-up.ts';
import type { ContainerParts } from './container-parts.ts';
import { ContainerView } from './criu/container-view.ts';
import { commonOptions, openDirectories } from './criu/directories.ts';
import { mountsToName, namespacesToName, stdioToName } from './criu/externals.ts';
import type { CriuFeature, CriuOptions, CriuRequest } from './criu/messages.ts';
import { descriptorsFile, dumpLog } from './criu/options.ts';
import type { CheckpointRequest } from './criu/options.ts';
import { CriuSession, findCriu } from './criu/session.ts';
import { Deadline } from './handshake.ts';
import { hostCgroups } from './host-cgroups.ts';
import { namespaceOf } from './namespaces/plan.ts';
import { cgroupView } from './rootfs/plan.ts';

const THAW_TIMEOUT_MS = 2000;

/**
 * Saves the container. Whoever reaps init sees it killed when it was not to run on. Throws failed precondition where criu
 * is not there or cannot do what is asked, unknown with criu's own reasons when it fails; the container is as it was
 * then: running, or paused if it was paused.
 */
export function checkpointContainer(sys: Syscalls, parts: ContainerParts, request: CheckpointRequest): void {
  const { cgroup } = parts;
  const program = findCriu(request.criu);
  if (namespaceOf(parts.spec, 'mount') === undefined) {
    throw failedPrecondition('a container without a mount namespace of its own cannot be checkpointed');
  }
  const deadline = new Deadline(request.timeoutMs);
  using descriptors = new Descriptors(sys);
  requireFeatures(sys, program, request, deadline);
  const directories = openDirectories(sys, request, dumpLog, descriptors, { make: true });
  const options = dumpOptions(sys, parts, request, directories.options);
  const wasFrozen = cgroup.isFrozen();
  try {
    const inherited = directories.paths.map(({ fd }) => fd);
    using session = CriuSession.start(sys, { program, stdin: -1, inherited }, deadline);
    const message: CriuRequest = { type: request.preDump === true ? 'preDump' : 'dump', options };
    session.call(message, deadline, directories.logFile, (script) => {
      if (script === 'status-ready') request.onReady?.();
    });
  } catch (err) {
    // A criu that was killed leaves what it has frozen.
    if (!wasFrozen && cgroup.isFrozen()) cgroup.thaw(THAW_TIMEOUT_MS);
    throw err;
  }
}

function dumpOptions(
  sys: Syscalls,
  parts: ContainerParts,
  request: CheckpointRequest,
  directories: Pick<CriuOptions, 'imagesDirFd' | 'workDirFd'>,
): CriuOptions {
  const { spec, cgroup, child } = parts;
  const { parentPath, pageServer } = request;
  const paths = cgroup.paths();
  const freezer = paths['freezer'] ?? paths[''];
  const options: CriuOptions = {
    ...directories,
    ...commonOptions(request, spec),
    logFile: dumpLog,
    pid: child.pid,
    root: `/proc/${child.pid}/root`,
    leaveRunning: request.leaveRunning ?? false,
    tcpSkipInFlight: request.tcpSkipInFlight ?? false,
    linkRemap: request.linkRemap ?? false,
    ...(freezer === undefined ? {} : { freezeCgroup: freezer }),
    ...(pageServer === undefined ? {} : { pageServer }),
    ...(parentPath === undefined ? {} : { parentImg: parentPath, trackMem: true }),
  };
  const namespaces = namespacesToName(spec);
  if (request.preDump === true) return { ...options, external: namespaces };
  const view = new ContainerView(sys, child.pid);
  const stdio = stdioToName(view);
  writeNames(request.imagePath, stdio.names);
  return {
    ...options,
    external: [...namespaces, ...stdio.external],
    extMnt: mountsToName(spec, cgroupView(spec, hostCgroups(), cgroup), view),
  };
}

function writeNames(imagePath: string, names: readonly string[]): void {
  const path = join(imagePath, descriptorsFile);
  try {
    writeFileSync(path, JSON.stringify(names), { mode: 0o600 });
  } catch (err) {
    throw wrap(err, `writing ${path}`);
  }
}

/** What the kernel and criu must be able to do for this request, asked before anything is touched. */
function requireFeatures(sys: Syscalls, program: string, request: CheckpointRequest, deadline: Deadline): void {
  const wanted: CriuFeature[] = [
    ...(request.preDump === true ? (['memTrack'] as const) : []),
    ...(request.lazyPages === true ? (['lazyPages'] as const) : []),
  ];
  if (wanted.length === 0) return;
  using session = CriuSession.start(sys, { program, stdin: -1, inherited: [] }, deadline);
  const { features } = session.call({ type: 'featureCheck', features: wanted }, deadline, '', () => undefined);
  const missing = wanted.filter((feature) => !features.has(feature));
  if (missing.length > 0) throw failedPrecondition(`criu or the kernel lacks: ${missing.join(', ')}`);
}
