/**
 * A runtime without privileges: containers of an ordinary user, in a user namespace of theirs.
 *
 * The user's process may not do on the host what the runtime otherwise does for its child, so the child does it, as root
 * of its own namespace:
 *
 *                                with privileges              without
 *   sources of mounts            opened by the parent         opened by the child (init/init.ts)
 *   maps of the user namespace   written                      written where the user maps himself alone, else made by
 *                                                             newuidmap and newgidmap (subuid(5))
 *   control group                made                         made where the host lets the user; else there is none
 *   the birth of an exec         in the pid namespace         by a process that has entered the user namespace first
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { absentCgroup, openCgroup, ownCgroupPaths } from '@gantry/cgroups';
import type { Cgroup, CgroupHierarchy } from '@gantry/cgroups';
import { failedPrecondition, invalidArgument, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { IdMapping, LinuxResources, Spec } from '@gantry/oci';
import type { CleanUp } from './clean-up.ts';
import { namespaceOf } from './namespaces/plan.ts';
import { writeMap, writeOnce } from './namespaces/user-mappings.ts';
import { setOwnOomScore } from './process/limits.ts';
import { runProgram } from './run-program.ts';

const HELPER_TIMEOUT_MS = 30_000;
const REMOVE_TIMEOUT_MS = 5000;

let unprivileged: boolean | undefined;

/** True for a process of an ordinary user. One that is root of a user namespace has all it needs there. Looked up once. */
export function isUnprivileged(): boolean {
  unprivileged ??= process.geteuid?.() !== 0;
  return unprivileged;
}

let keepsGroups: boolean | undefined;

/** True for a process that may not change its supplementary groups (user_namespaces(7)). Looked up once. */
export function mustKeepGroups(): boolean {
  keepsGroups ??= isUnprivileged() || readFileSync('/proc/self/setgroups', 'latin1').startsWith('deny');
  return keepsGroups;
}

/** Refuses what an ordinary user cannot have. */
export function checkUnprivileged(spec: Spec): void {
  const { uidMappings, gidMappings } = spec.linux ?? {};
  const user = namespaceOf(spec, 'user');
  if (user === undefined) throw invalidArgument('rootless container requires user namespaces');
  if (user.path !== undefined) return;
  for (const { options = [], uidMappings: own } of spec.mounts ?? []) {
    if (own !== undefined || options.includes('idmap') || options.includes('ridmap')) {
      throw invalidArgument('id-mapped mounts are not supported for rootless containers');
    }
    for (const option of options) {
      const [, kind, number] = /^(uid|gid)=(\d+)$/.exec(option) ?? [];
      if (kind === undefined || isMapped(kind === 'uid' ? uidMappings : gidMappings, Number(number))) continue;
      throw invalidArgument(
        `cannot specify ${option} mount option for rootless container: ${kind} is not mapped in the user namespace`,
      );
    }
  }
}

function isMapped(mappings: readonly IdMapping[] = [], id: number): boolean {
  return mappings.some(({ containerID, size }) => id >= containerID && id < containerID + size);
}

/**
 * Writes the maps of a process that was just born in a new user namespace, which must not be hidden yet, and its OOM
 * score, which cannot be written afterwards.
 */
export function mapUnprivileged(sys: Syscalls, pid: number, spec: Spec, oomScoreAdj: number | undefined): void {
  setOwnOomScore(sys, pid, oomScoreAdj);
  const { uidMappings = [], gidMappings = [] } = spec.linux ?? {};
  const [uid = -1, gid = -1] = [process.geteuid?.(), process.getegid?.()];
  if (isHimself(uidMappings, uid)) writeMap(sys, `/proc/${pid}/uid_map`, uidMappings);
  else callHelper(sys, 'newuidmap', '/etc/subuid', pid, uidMappings);
  if (!isHimself(gidMappings, gid)) {
    callHelper(sys, 'newgidmap', '/etc/subgid', pid, gidMappings);
    return;
  }
  // Who maps his own group may not give it up: others might be kept out of files by it (user_namespaces(7)).
  writeOnce(sys, `/proc/${pid}/setgroups`, 'deny');
  writeMap(sys, `/proc/${pid}/gid_map`, gidMappings);
}

function isHimself([first, ...others]: readonly IdMapping[], id: number): boolean {
  return first !== undefined && others.length === 0 && first.hostID === id && first.size === 1;
}

function callHelper(sys: Syscalls, name: string, file: string, pid: number, mappings: readonly IdMapping[]): void {
  const path = findProgram(name);
  if (path === undefined) {
    throw failedPrecondition(`${name} is needed to map more than one id and is not installed (Debian: uidmap)`);
  }
  const words = mappings.flatMap(({ containerID, hostID, size }) => [containerID, hostID, size].map(String));
  const argv = [name, String(pid), ...words];
  const program = { path, argv, env: [], directory: '/', input: '', timeoutMs: HELPER_TIMEOUT_MS };
  const { inTime, exitStatus, signal, output } = runProgram(sys, program);
  if (inTime && exitStatus === 0 && signal === 0) return;
  const wanted = mappings.map(({ hostID, size }) => `${hostID}:${size}`).join(', ');
  throw failedPrecondition(`${argv.join(' ')}: ${output} (does ${file} give this user ${wanted}?)`);
}

function findProgram(name: string): string | undefined {
  return (process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin')
    .split(':')
    .map((directory) => join(directory, name))
    .find((path) => mayUse(path, constants.X_OK));
}

function mayUse(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

/**
 * The group itself when it can be made and entered, else none at all. Throws when limits are asked for that nobody would
 * keep.
 */
export function groupIfAllowed(hierarchy: CgroupHierarchy, cgroup: Cgroup, spec: Spec, cleanUp: CleanUp): Cgroup {
  // Somebody else's is refused later on, and nothing is to be removed.
  if (cgroup.pids().length > 0) return cgroup;
  try {
    // Removed again even when only a part of it could be made.
    cleanUp.add(() => removeIfAllowed(cgroup));
    cgroup.create();
    if (mayEnter(hierarchy, cgroup)) return cgroup;
  } catch (err) {
    if (!isRefusal(err)) throw err;
    if (asksLimits(spec.linux?.resources ?? {})) {
      throw wrap(err, 'rootless needs no limits + no cgroup permissions: linux.resources cannot be applied');
    }
  }
  removeIfAllowed(cgroup);
  return absentCgroup(hierarchy);
}

function removeIfAllowed(cgroup: Cgroup): void {
  try {
    cgroup.remove(REMOVE_TIMEOUT_MS);
  } catch (err) {
    if (!isRefusal(err)) throw err;
  }
}

function isRefusal(err: unknown): boolean {
  if (isErrno(err, 'EACCES', 'EPERM', 'EROFS')) return true;
  return err instanceof Error && err.cause !== undefined && isRefusal(err.cause);
}

/** A process goes from one v2 group to another only if its owner may write to the group above both (cgroups(7)). */
function mayEnter(hierarchy: CgroupHierarchy, cgroup: Cgroup): boolean {
  const { unified } = hierarchy;
  const target = cgroup.paths()[''];
  const own = openCgroup(hierarchy, '').paths()[''];
  if (unified === undefined || target === undefined || own === undefined || ownCgroupPaths().size === 0) return true;
  const components = own.split('/');
  const differs = target.split('/').findIndex((name, index) => name !== components[index]);
  const common = components.slice(0, differs < 0 ? components.length : differs).join('/');
  return mayUse(join(common, 'cgroup.procs'), constants.W_OK);
}

/** Device rules are none: an ordinary user's container can make no node, and opens what its user may. */
function asksLimits(resources: LinuxResources): boolean {
  return Object.entries(resources).some(
    ([name, value]: [string, unknown]) =>
      name !== 'devices' && typeof value === 'object' && value !== null && Object.keys(value).length > 0,
  );
}
