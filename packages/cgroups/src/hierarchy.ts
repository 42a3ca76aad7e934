/** Which control group hierarchies the host has and where they are mounted: found once, then plain data. */
import { readFileSync } from 'node:fs';
import { failedPrecondition } from '@gantry/errors';
import { linux } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { CgroupMode } from './cgroup.ts';

/** The system calls that this room makes beside reading statistics. */
export type CgroupCalls = Pick<
  Syscalls,
  | 'bpf'
  | 'close'
  | 'connectUnix'
  | 'eventfd'
  | 'fstatatIfPresent'
  | 'inotifyAddWatch'
  | 'inotifyInit'
  | 'kill'
  | 'lgetxattr'
  | 'lsetxattr'
  | 'mkdiratIfAbsent'
  | 'openat'
  | 'openatIfPresent'
  | 'poll'
  | 'read'
  | 'unlinkat'
  | 'write'
>;

/** Where one hierarchy is. */
export interface CgroupMount {
  readonly directory: string;
  /** The group that `directory` shows: `/`, unless only a part of the hierarchy is mounted (in a container). */
  readonly root: string;
}

/** Where the control groups of this host are. */
export interface CgroupHierarchy {
  readonly mode: CgroupMode;
  /** The v2 tree; absent on a legacy host. */
  readonly unified?: CgroupMount;
  /**
   * v1 controllers (`cpu`, `memory`, …, and named ones as `name=systemd`) → where they are; controllers that are
   * mounted together share their entry's directory. Empty on a unified host.
   */
  readonly controllers: ReadonlyMap<string, CgroupMount>;
  readonly sys: CgroupCalls;
}

/** Super block options of a v1 hierarchy that are not controllers. */
const mountFlags: ReadonlySet<string> = new Set([
  'rw',
  'ro',
  'xattr',
  'noprefix',
  'clone_children',
  'cpuset_v2_mode',
  'favordynmods',
  'none',
]);

/**
 * Reads the hierarchies below `root` from /proc/self/mountinfo. The result does not change while the host runs and is
 * meant to be kept. Throws failed precondition when no control group file system is mounted there.
 */
export function detectCgroups(root = '/sys/fs/cgroup', sys: CgroupCalls = linux): CgroupHierarchy {
  return hierarchyFrom(readFileSync('/proc/self/mountinfo', 'utf8'), root, sys);
}

/** `detectCgroups` over the text of a mountinfo file (proc(5)). */
export function hierarchyFrom(mountinfo: string, root: string, sys: CgroupCalls): CgroupHierarchy {
  const controllers = new Map<string, CgroupMount>();
  let unified: CgroupMount | undefined;
  for (const line of mountinfo.split('\n')) {
    const found = parseLine(line);
    if (found === undefined || !isBelow(found.mount.directory, root)) continue;
    if (found.type === 'cgroup2') {
      unified ??= found.mount;
      continue;
    }
    for (const name of found.options) {
      if (isController(name) && !controllers.has(name)) controllers.set(name, found.mount);
    }
  }
  if (controllers.size === 0 && unified === undefined) {
    throw failedPrecondition(`no control group file system is mounted at ${root}`);
  }
  const mode: CgroupMode = controllers.size === 0 ? 'unified' : unified === undefined ? 'legacy' : 'hybrid';
  return { mode, ...(unified === undefined ? {} : { unified }), controllers, sys };
}

function isController(option: string): boolean {
  return !mountFlags.has(option) && (option.startsWith('name=') || !option.includes('='));
}

function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`);
}

/** A mountinfo line of a control group file system: `id parent major:minor root directory flags tags… - type source options`. */
function parseLine(line: string): { type: string; mount: CgroupMount; options: string[] } | undefined {
  const separator = line.indexOf(' - cgroup');
  if (separator < 0) return undefined;
  const [, , , root, directory] = line.slice(0, separator).split(' ');
  const [type, , options] = line.slice(separator + 3).split(' ');
  if (root === undefined || directory === undefined || options === undefined) return undefined;
  if (type !== 'cgroup' && type !== 'cgroup2') return undefined;
  return {
    type,
    mount: { directory: unescapeOctal(directory), root: unescapeOctal(root) },
    options: options.split(','),
  };
}

/** Blanks, tabs, newlines and backslashes are written as `\040` and so on. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
