/**
 * Mounts that are attached nowhere yet: a new file system (fsopen, fsconfig, fsmount) or a copy of a part of the mount
 * tree (open_tree). Both are descriptors; they vanish when the last one is closed, so that a failure leaves no mount.
 */
import { wrap } from '@gantry/errors';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  isErrno,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  OPEN_TREE_CLONE,
} from '@gantry/libc';
import type { FileCalls, MountCalls, Path } from '@gantry/libc';
import type { AttributeChange, MountOptions, Propagation } from './mount-options.ts';

export type DetachedCalls = Pick<
  MountCalls,
  | 'fsopen'
  | 'fsconfigString'
  | 'fsconfigFlag'
  | 'fsconfigFd'
  | 'fsconfigCreate'
  | 'fsmount'
  | 'fspick'
  | 'fsconfigReconfigure'
  | 'openTree'
  | 'moveMount'
  | 'mountSetattr'
  | 'readFsContextLog'
> &
  Pick<FileCalls, 'close'>;

/** The kernel copies at most this much of an option's text, its NUL included (fsconfig(2)). */
export const FSCONFIG_STRING_BYTES = 256;

export interface NewFileSystem {
  readonly type: string;
  readonly source: string;
  readonly attributes: AttributeChange;
  readonly superFlags: readonly string[];
  /** `key=value` or `flag`, in the order in which the kernel gets them. */
  readonly data: readonly string[];
  /** Lower layers of an overlay by descriptor, the nearest first (Linux 6.13). */
  readonly layers?: readonly number[];
}

/** Makes a file system and returns its detached mount. What the kernel logged about a refusal is in the error. */
export function mountDetached(sys: DetachedCalls, request: NewFileSystem): number {
  const { type, source, attributes } = request;
  const context = sys.fsopen(type);
  try {
    if (source !== '') sys.fsconfigString(context, 'source', source);
    for (const flag of request.superFlags) sys.fsconfigFlag(context, flag);
    for (const option of request.data) configure(sys, context, option);
    for (const layer of request.layers ?? []) sys.fsconfigFd(context, 'lowerdir+', layer);
    sys.fsconfigCreate(context);
    return sys.fsmount(context, attributes.set);
  } catch (err) {
    const log = sys.readFsContextLog(context);
    throw wrap(err, log === '' ? `mounting ${type}` : `mounting ${type}: ${log}`);
  } finally {
    sys.close(context);
  }
}

/** Words for what can be changed of a super block later on: given, and taken back. */
const changeable = [
  ['ro', 'rw'],
  ['sync', 'async'],
  ['lazytime', 'nolazytime'],
] as const;

/** Changes the file system of a mount; `mount` is an O_PATH descriptor of its root. What is not asked for is taken back. */
export function changeFileSystem(
  sys: DetachedCalls,
  mount: number,
  superFlags: readonly string[],
  data: readonly string[],
): void {
  const context = sys.fspick(mount);
  try {
    for (const [on, off] of changeable) sys.fsconfigFlag(context, superFlags.includes(on) ? on : off);
    for (const option of data) configure(sys, context, option);
    sys.fsconfigReconfigure(context);
  } catch (err) {
    const log = sys.readFsContextLog(context);
    throw log === '' ? err : wrap(err, log);
  } finally {
    sys.close(context);
  }
}

function configure(sys: DetachedCalls, context: number, option: string): void {
  const equals = option.indexOf('=');
  if (equals < 0) sys.fsconfigFlag(context, option);
  else sys.fsconfigString(context, option.slice(0, equals), option.slice(equals + 1));
}

/** The options of a mount as single words for fsconfig: one word may hold several, separated by commas. */
export function singleOptions(data: readonly string[]): string[] {
  return data.flatMap((word) => word.split(/(?<!\\),/)).filter((word) => word !== '');
}

/** A detached copy of what is mounted at a place. */
export function copyTree(sys: DetachedCalls, dirfd: number, path: Path, recursive: boolean): number {
  const empty = path.length === 0 ? AT_EMPTY_PATH : 0;
  return sys.openTree(dirfd, path, OPEN_TREE_CLONE | empty | (recursive ? AT_RECURSIVE : 0));
}

/** Changes propagation of a mount by descriptor. */
export function setPropagation(sys: DetachedCalls, fd: number, { type, recursive }: Propagation): void {
  const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  sys.mountSetattr(fd, '', flags, { set: 0, clear: 0, propagation: type });
}

export function setAttributes(sys: DetachedCalls, fd: number, change: AttributeChange, recursive: boolean): void {
  if (change.set === 0 && change.clear === 0) return;
  sys.mountSetattr(fd, '', AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), change);
}

/** Applies everything an option list says about the mount itself (not its file system's data) to a copied tree. */
export function applyToCopy(sys: DetachedCalls, fd: number, options: MountOptions): void {
  setAttributes(sys, fd, options.attributes, false);
  if (options.recursiveAttributes !== undefined) setAttributes(sys, fd, options.recursiveAttributes, true);
  for (const propagation of options.propagation) setPropagation(sys, fd, propagation);
}

/** Attaches a detached mount onto the place an O_PATH descriptor refers to. */
export function attach(sys: DetachedCalls, mountFd: number, targetFd: number): void {
  sys.moveMount(mountFd, '', targetFd, '', MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/** Attaches a detached mount on top of the current root. */
export function attachOnRoot(sys: DetachedCalls, mountFd: number): void {
  sys.moveMount(mountFd, '', AT_FDCWD, '/', MOVE_MOUNT_F_EMPTY_PATH);
}

/** True for what the kernel answers when a key or value is not known to a file system or to this kernel. */
export function isUnknownOption(err: unknown): boolean {
  return isErrno(err, 'EINVAL', 'EOPNOTSUPP');
}
