/**
 * What the container's root is made of, opened by the parent: with the host's identity and paths, as detached mounts.
 * The child, which may be in a user namespace that cannot even see these paths, only attaches them.
 *
 * A copy of the host's mounts must not send anything back: its propagation is set before anybody can mount below it.
 */
import { posix } from 'node:path';
import { invalidArgument, wrap } from '@gantry/errors';
import { AT_EMPTY_PATH, AT_FDCWD, isErrno, MS_PRIVATE, O_DIRECTORY, O_NOFOLLOW, O_PATH } from '@gantry/libc';
import type { FileCalls, Syscalls } from '@gantry/libc';
import { idMapsOfOptions } from '@gantry/oci';
import type { Spec } from '@gantry/oci';
import type { RootfsMount } from '../container.ts';
import type { Descriptors } from '../clean-up.ts';
import { applyToCopy, copyTree, mountDetached, setPropagation, singleOptions } from './detached.ts';
import type { DetachedCalls } from './detached.ts';
import { applyIdMap, idMapOf } from './id-map.ts';
import { parseMountOptions } from './mount-options.ts';
import type { MountOptions, Propagation } from './mount-options.ts';
import { mountOverlay } from './overlay.ts';
import { isDirectory, normalDestination } from './resolve.ts';

export type SourceCalls = DetachedCalls & Pick<FileCalls, 'openat' | 'fstatat'>;

/** A detached mount and where in the root it goes. */
export interface PreparedMount {
  readonly fd: number;
  /** Normal path in the container; `/` is the root itself. */
  readonly destination: string;
}

/** One entry of the mount list. */
export interface PlannedMount {
  /** Where it stands in the configuration, for error texts. */
  readonly field: string;
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: MountOptions;
  /** The copied tree of a bind mount. */
  readonly tree: { readonly fd: number; readonly isDirectory: boolean } | undefined;
}

/**
 * Whatever is asked for the container's other mounts: what is mounted in its root must not appear in the directory of
 * the host that the root is a copy of.
 */
const rootItself: Propagation = { type: MS_PRIVATE, recursive: true };

/** The mounts that make the root file system, the root first. The descriptors belong to `descriptors`. */
export function openRootfs(
  sys: Syscalls,
  request: { readonly rootfs: readonly RootfsMount[]; readonly bundle: string; readonly spec: Spec },
  descriptors: Descriptors,
): PreparedMount[] {
  if (request.rootfs.length === 0) {
    const path = posix.resolve(request.bundle, request.spec.root?.path ?? '');
    return [{ fd: descriptors.keep(openRootDirectory(sys, path)), destination: '/' }];
  }
  return request.rootfs.map((mount, index) => {
    const destination = normalDestination(mount.target ?? '');
    if (index === 0 && destination !== '/') throw invalidArgument('rootfs[0].target: the first mount is the root');
    try {
      return { fd: descriptors.keep(openSnapshotMount(sys, mount, `rootfs[${index}].options`)), destination };
    } catch (err) {
      throw wrap(err, `rootfs[${index}]`);
    }
  });
}

function openRootDirectory(sys: SourceCalls, path: string): number {
  let directory: number;
  try {
    directory = sys.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) throw invalidArgument(`invalid rootfs: stat ${path}: no such file or directory`);
    throw wrap(err, 'invalid rootfs', 'invalid argument');
  }
  try {
    return privately(sys, copyTree(sys, directory, '', true), rootItself);
  } finally {
    sys.close(directory);
  }
}

function openSnapshotMount(sys: Syscalls, mount: RootfsMount, field: string): number {
  const { maps, others } = idMapsOfOptions(mount.options);
  const options = parseMountOptions(others, field);
  if (options.bind !== 'no' || mount.type === 'bind') {
    const recursive = options.bind === 'recursive';
    const fd = privately(sys, copyTree(sys, AT_FDCWD, mount.source, recursive), rootItself);
    return changing(sys, fd, () => {
      if (maps !== undefined) applyIdMap(sys, fd, { ...maps, recursive });
      applyToCopy(sys, fd, options);
    });
  }
  const { type, source } = mount;
  const { attributes, superFlags } = options;
  if (type === 'overlay') return mountOverlay(sys, { type, source, attributes, superFlags, data: options.data }, maps);
  if (maps !== undefined) throw invalidArgument(`${field}: ids of a file system of type ${type} cannot be mapped`);
  return mountDetached(sys, { type, source, attributes, superFlags, data: singleOptions(options.data) });
}

/** Opens the sources of all bind mounts; relative ones are below the bundle. */
export function planMounts(
  sys: Syscalls,
  spec: Spec,
  bundle: string,
  base: Propagation,
  descriptors: Descriptors,
): PlannedMount[] {
  return (spec.mounts ?? []).map((mount, index) => {
    const field = `mounts[${index}]`;
    const options = parseMountOptions(mount.options ?? [], `${field}.options`);
    const isBind = options.bind !== 'no' || mount.type === 'bind';
    const common = { field, destination: normalDestination(mount.destination), source: mount.source ?? '', options };
    const idMap = idMapOf(spec, mount, options, isBind);
    if (!isBind || options.remount) return { ...common, type: mount.type ?? 'none', tree: undefined };
    try {
      const tree = openBindSource(sys, posix.resolve(bundle, common.source), options, base, descriptors);
      if (idMap !== undefined) applyIdMap(sys, tree.fd, idMap);
      return { ...common, type: 'bind', tree };
    } catch (err) {
      throw wrap(err, `${field}: error mounting ${JSON.stringify(common.source)} to rootfs at "${mount.destination}"`);
    }
  });
}

function openBindSource(
  sys: SourceCalls,
  path: string,
  options: MountOptions,
  base: Propagation,
  descriptors: Descriptors,
): { fd: number; isDirectory: boolean } {
  const fd = descriptors.keep(privately(sys, copyTree(sys, AT_FDCWD, path, options.bind === 'recursive'), base));
  applyToCopy(sys, fd, options);
  return { fd, isDirectory: isDirectory(sys.fstatat(fd, '', AT_EMPTY_PATH)) };
}

function privately(sys: SourceCalls, fd: number, base: Propagation): number {
  return changing(sys, fd, () => setPropagation(sys, fd, { type: base.type, recursive: true }));
}

function changing(sys: SourceCalls, fd: number, change: () => void): number {
  try {
    change();
    return fd;
  } catch (err) {
    sys.close(fd);
    throw err;
  }
}
