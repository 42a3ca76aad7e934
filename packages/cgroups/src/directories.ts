/**
 * Making and removing the directories of a group in one hierarchy.
 *
 * An ancestor that had to be made is marked with the extended attribute `trusted.gantry` and goes away with the last
 * group below it; an ancestor that somebody else made has no mark and is never removed. Where attributes are not
 * supported, ancestors stay.
 */
import { readdirSync } from 'node:fs';
import { aborted, deadlineExceeded, wrap } from '@gantry/errors';
import { AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, isErrno, monotonicMs } from '@gantry/libc';
import type { CgroupCalls } from './hierarchy.ts';

export const ancestorMark = 'trusted.gantry';
const markValue = Buffer.from('ancestor');

/** Another container's removal may take an ancestor away between two of our steps. */
const makeAttempts = 10;

/** Pauses between attempts to remove a group that still has dying processes. */
const firstPauseMs = 1;
const longestPauseMs = 50;

type MakeCalls = Pick<CgroupCalls, 'lsetxattr' | 'mkdiratIfAbsent'>;
type RemoveCalls = Pick<CgroupCalls, 'fstatatIfPresent' | 'lgetxattr' | 'poll' | 'unlinkat'>;

/** A directory without another in it: itself and the entry in its parent. Control groups keep that count. */
const LINKS_WITHOUT_CHILDREN = 2;

/** What is to be done with a directory right after it was made (cpuset needs CPUs before anybody can enter). */
export type Prepare = (directory: string) => void;

/**
 * Makes `mount/components…`; `prepare` is called for every directory made, top down. Returns false when the group
 * itself was there already.
 */
export function makeGroup(
  sys: MakeCalls,
  mount: string,
  components: readonly string[],
  prepare: Prepare = () => undefined,
): boolean {
  const directory = `${mount}/${components.join('/')}`;
  for (let attempt = 0; attempt < makeAttempts; attempt++) {
    try {
      // The first attempt is for the usual case that the ancestors are there.
      if (attempt > 0) makeAncestors(sys, mount, components, prepare);
      if (!sys.mkdiratIfAbsent(AT_FDCWD, directory, 0o755)) return false;
      prepare(directory);
      return true;
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw wrap(err, `making control group ${directory}`);
    }
  }
  throw aborted(`making control group ${directory}: its parent keeps vanishing`);
}

/** Throws ENOENT when one was removed by the last group below it just now: the caller begins anew. */
function makeAncestors(sys: MakeCalls, mount: string, components: readonly string[], prepare: Prepare): void {
  let directory = mount;
  for (const name of components.slice(0, -1)) {
    directory += `/${name}`;
    if (!sys.mkdiratIfAbsent(AT_FDCWD, directory, 0o755)) continue;
    markAncestor(sys, directory);
    prepare(directory);
  }
}

function markAncestor(sys: MakeCalls, directory: string): void {
  try {
    sys.lsetxattr(directory, ancestorMark, markValue, 0);
  } catch (err) {
    if (!isErrno(err, 'EOPNOTSUPP', 'ENOTSUP', 'EPERM', 'ENOENT')) throw err;
  }
}

function isMarked(sys: RemoveCalls, directory: string): boolean {
  try {
    return sys.lgetxattr(directory, ancestorMark) !== undefined;
  } catch {
    return false;
  }
}

/**
 * Removes the group, the groups below it (bottom up) and the marked ancestors that are empty then. Retries while the
 * kernel still counts processes in it, until `deadline` (monotonicMs). Throws deadline exceeded.
 */
export function removeGroup(sys: RemoveCalls, mount: string, components: readonly string[], deadline: number): void {
  const directory = `${mount}/${components.join('/')}`;
  for (let pauseMs = firstPauseMs; !removeTree(sys, directory); pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    const remainingMs = deadline - monotonicMs();
    if (remainingMs <= 0) throw deadlineExceeded(`removing control group ${directory}: it is still in use`);
    sys.poll([], Math.min(pauseMs, remainingMs));
  }
  for (let depth = components.length - 1; depth > 0; depth--) {
    const ancestor = `${mount}/${components.slice(0, depth).join('/')}`;
    // Asked first, because on a busy host an ancestor nearly always has another group in it.
    if (hasChildren(sys, ancestor) || !isMarked(sys, ancestor) || !removeDirectory(sys, ancestor)) return;
  }
}

/** One attempt; false when something in the tree is still in use. */
function removeTree(sys: RemoveCalls, directory: string): boolean {
  if (removeDirectory(sys, directory)) return true;
  for (const child of childGroups(directory)) removeTree(sys, `${directory}/${child}`);
  return removeDirectory(sys, directory);
}

/** True when the directory is gone afterwards. */
function removeDirectory(sys: RemoveCalls, directory: string): boolean {
  try {
    sys.unlinkat(AT_FDCWD, directory, AT_REMOVEDIR);
    return true;
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return true;
    if (isErrno(err, 'EBUSY', 'ENOTEMPTY', 'EEXIST')) return false;
    throw wrap(err, `removing control group ${directory}`);
  }
}

/** True when there are groups below this one. */
export function hasChildren(sys: Pick<CgroupCalls, 'fstatatIfPresent'>, directory: string): boolean {
  const stat = sys.fstatatIfPresent(AT_FDCWD, directory, AT_SYMLINK_NOFOLLOW);
  return stat !== undefined && stat.nlink !== LINKS_WITHOUT_CHILDREN;
}

/** The names of the groups directly below; empty when the group is gone. */
export function childGroups(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENODEV')) return [];
    throw err;
  }
}
