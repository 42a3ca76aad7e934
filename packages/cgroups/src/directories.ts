/**
 * Making and removing the directories of a group in one hierarchy.
 *
 * An ancestor that had to be made is marked with the extended attribute `trusted.gantry` and goes away with the last
 * group below it; an ancestor that somebody else made has no mark and is never removed. Where attributes are not
 * supported, ancestors stay.
 */
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { aborted, deadlineExceeded, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { CgroupCalls } from './hierarchy.ts';

export const ancestorMark = 'trusted.gantry';
const markValue = Buffer.from('ancestor');

/** Another container's removal may take an ancestor away between two of our steps. */
const makeAttempts = 10;

/** Pauses between attempts to remove a group that still has dying processes. */
const firstPauseMs = 1;
const longestPauseMs = 50;

type MarkCalls = Pick<CgroupCalls, 'lgetxattr' | 'lsetxattr'>;

/** What is to be done with a directory right after it was made (cpuset needs CPUs before anybody can enter). */
export type Prepare = (directory: string) => void;

/**
 * Makes `mount/components…`; `prepare` is called for every directory made, top down. Returns false when the group
 * itself was there already.
 */
export function makeGroup(
  sys: MarkCalls,
  mount: string,
  components: readonly string[],
  prepare: Prepare = () => undefined,
): boolean {
  const directory = [mount, ...components].join('/');
  for (let attempt = 0; attempt < makeAttempts; attempt++) {
    try {
      if (!makeDirectory(directory)) return false;
      prepare(directory);
      return true;
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw wrap(err, `making control group ${directory}`);
      makeAncestors(sys, mount, components, prepare);
    }
  }
  throw aborted(`making control group ${directory}: its parent keeps vanishing`);
}

function makeAncestors(sys: MarkCalls, mount: string, components: readonly string[], prepare: Prepare): void {
  let directory = mount;
  for (const name of components.slice(0, -1)) {
    directory += `/${name}`;
    try {
      if (!makeDirectory(directory)) continue;
      markAncestor(sys, directory);
      prepare(directory);
    } catch (err) {
      // Removed by the last group below it just now: the caller begins anew.
      if (isErrno(err, 'ENOENT')) return;
      throw err;
    }
  }
}

/** False when it exists. */
function makeDirectory(directory: string): boolean {
  try {
    mkdirSync(directory, 0o755);
    return true;
  } catch (err) {
    if (isErrno(err, 'EEXIST')) return false;
    throw err;
  }
}

function markAncestor(sys: MarkCalls, directory: string): void {
  try {
    sys.lsetxattr(directory, ancestorMark, markValue, 0);
  } catch (err) {
    if (!isErrno(err, 'EOPNOTSUPP', 'ENOTSUP', 'EPERM', 'ENOENT')) throw err;
  }
}

function isMarked(sys: MarkCalls, directory: string): boolean {
  try {
    return sys.lgetxattr(directory, ancestorMark) !== undefined;
  } catch {
    return false;
  }
}

/**
 * Removes the group, the groups below it (bottom up) and the marked ancestors that are empty then. Retries while the
 * kernel still counts processes in it, until `deadline` (performance.now). Throws deadline exceeded.
 */
export function removeGroup(
  sys: MarkCalls & Pick<CgroupCalls, 'poll'>,
  mount: string,
  components: readonly string[],
  deadline: number,
): void {
  const directory = [mount, ...components].join('/');
  for (let pauseMs = firstPauseMs; !removeTree(directory); pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    const remainingMs = deadline - performance.now();
    if (remainingMs <= 0) throw deadlineExceeded(`removing control group ${directory}: it is still in use`);
    sys.poll([], Math.min(pauseMs, remainingMs));
  }
  for (let depth = components.length - 1; depth > 0; depth--) {
    const ancestor = [mount, ...components.slice(0, depth)].join('/');
    if (!isMarked(sys, ancestor) || !removeDirectory(ancestor)) return;
  }
}

/** One attempt; false when something in the tree is still in use. */
function removeTree(directory: string): boolean {
  if (removeDirectory(directory)) return true;
  for (const child of childGroups(directory)) removeTree(`${directory}/${child}`);
  return removeDirectory(directory);
}

/** True when the directory is gone afterwards. */
function removeDirectory(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return true;
    if (isErrno(err, 'EBUSY', 'ENOTEMPTY', 'EEXIST')) return false;
    throw wrap(err, `removing control group ${directory}`);
  }
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
