/**
 * Overlays of a snapshot's layers, as detached mounts. Layers whose ids are mapped (`uidmap=`, `gidmap=` among the options) are
 * copied mounts that show the host's ids for the container's; the upper directory is written with the host's anyway.
 *
 *     layers are                            │ how the kernel gets them
 *     paths, short together                 │ lowerdir=<p0>:<p1>…
 *     paths                                 │ lowerdir+=<p0>, lowerdir+=<p1>…          Linux 6.7
 *     mapped                                │ lowerdir+ by descriptor, detached        Linux 6.15
 *     both, where the kernel is too old     │ attached under short names in a mount namespace that is left at once
 */
import { messageOf, wrap } from '@gantry/errors';
import {
  AT_FDCWD,
  CLONE_NEWNS,
  isErrno,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openMappedTree,
} from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { IdMaps } from '@gantry/oci';
import { mappingNamespace } from '../namespaces/mapping-namespace.ts';
import { copyTree, FSCONFIG_STRING_BYTES, mountDetached, setAttributes } from './detached.ts';
import type { NewFileSystem } from './detached.ts';
import { using } from './resolve.ts';

/** Where layers are attached for a moment: a directory that every system has and that no layer is below. */
const scratch = '/sys';

/** A detached mount, the caller's. With `maps` its layers are shown so; the host sees nothing of it. */
export function mountOverlay(sys: Syscalls, request: NewFileSystem, maps: IdMaps | undefined): number {
  const layers = lowerLayers(request.data);
  if (maps !== undefined) {
    const trees = mappedLayers(sys, layers, maps);
    try {
      return byDescriptor(sys, request, trees) ?? underShortNames(sys, request, trees);
    } finally {
      for (const tree of trees) sys.close(tree);
    }
  }
  const data = overlayOptions(request.data);
  try {
    return mountDetached(sys, { ...request, data });
  } catch (err) {
    if (data.length === request.data.length || !isRefusal(err)) throw err;
    return beside(err, () => {
      const trees: number[] = [];
      try {
        for (const layer of layers) trees.push(copyTree(sys, AT_FDCWD, layer, false));
        return underShortNames(sys, request, trees);
      } finally {
        for (const tree of trees) sys.close(tree);
      }
    });
  }
}

/**
 * Overlay options for fsconfig(2), which takes short texts only: a longer list of lower layers is given layer by layer
 * (`lowerdir+`, Linux 6.7).
 */
export function overlayOptions(data: readonly string[]): string[] {
  return data.flatMap((option) => {
    if (!option.startsWith('lowerdir=') || Buffer.byteLength(option) - 'lowerdir='.length < FSCONFIG_STRING_BYTES) {
      return [option];
    }
    return lowerLayers([option]).map((layer) => `lowerdir+=${layer}`);
  });
}

/** The directories of `lowerdir=`, the nearest first. A colon that is part of a name is written `\:` there. */
function lowerLayers(data: readonly string[]): string[] {
  const list = data.find((option) => option.startsWith('lowerdir='))?.slice('lowerdir='.length) ?? '';
  return list.split(/(?<!\\):/).map((layer) => layer.replaceAll('\\:', ':'));
}

function mappedLayers(sys: Syscalls, layers: readonly string[], { uidMappings, gidMappings }: IdMaps): number[] {
  const namespace = mappingNamespace(sys, uidMappings, gidMappings);
  const trees: number[] = [];
  try {
    for (const layer of layers) trees.push(openMappedTree(sys, layer, namespace, MOUNT_ATTR_RDONLY));
    return trees;
  } catch (err) {
    for (const tree of trees) sys.close(tree);
    const why = isErrno(err, 'EINVAL') ? ' (does their file system support id-mapped mounts?)' : '';
    throw wrap(err, `mapping the ids of the layers${why}`);
  } finally {
    sys.close(namespace);
  }
}

/** Undefined where the kernel wants layers to be attached. */
function byDescriptor(sys: Syscalls, request: NewFileSystem, layers: readonly number[]): number | undefined {
  const data = request.data.filter((option) => !option.startsWith('lowerdir='));
  try {
    return mountDetached(sys, { ...request, data, layers });
  } catch (err) {
    if (isRefusal(err)) return undefined;
    throw err;
  }
}

/** Attaches the layers as `0`, `1`, … in a mount namespace of this thread's own and mounts the overlay there (mount(2)). */
function underShortNames(sys: Syscalls, request: NewFileSystem, layers: readonly number[]): number {
  return inOwnMountNamespace(sys, () => {
    const data = request.data.filter((option) => !option.startsWith('lowerdir='));
    for (const [index, tree] of layers.entries()) {
      sys.mkdirat(AT_FDCWD, String(index), 0o700);
      sys.moveMount(tree, '', AT_FDCWD, String(index), MOVE_MOUNT_F_EMPTY_PATH);
    }
    sys.mkdirat(AT_FDCWD, 'all', 0o700);
    const text = [...data, `lowerdir=${layers.map((_, index) => index).join(':')}`].join(',');
    sys.mount(request.source, 'all', request.type, request.superFlags.includes('ro') ? MS_RDONLY : 0, text);
    const mount = copyTree(sys, AT_FDCWD, 'all', false);
    try {
      setAttributes(sys, mount, request.attributes, false);
      return mount;
    } catch (err) {
      sys.close(mount);
      throw err;
    }
  });
}

/** Calls `work` with an empty directory, which nobody else sees, as the working directory. */
function inOwnMountNamespace<T>(sys: Syscalls, work: () => T): T {
  return using(sys, sys.openat(AT_FDCWD, '/proc/thread-self/ns/mnt', O_RDONLY), (host) =>
    using(sys, sys.openat(AT_FDCWD, '.', O_PATH | O_DIRECTORY), (before) => {
      sys.unshare(CLONE_NEWNS);
      try {
        sys.mount(undefined, '/', undefined, MS_REC | MS_PRIVATE, undefined);
        sys.mount('tmpfs', scratch, 'tmpfs', MS_NOSUID | MS_NODEV | MS_NOEXEC, 'mode=700,size=1m');
        sys.chdir(scratch);
        return work();
      } finally {
        sys.setns(host, CLONE_NEWNS);
        sys.fchdir(before);
      }
    }),
  );
}

/** What the kernel says of options and layers that it does not take. */
function isRefusal(err: unknown): boolean {
  return err instanceof Error && isErrno(err.cause, 'EINVAL', 'EOPNOTSUPP');
}

/** The second way of doing it; when that fails too, the error tells of both. */
function beside<T>(first: unknown, second: () => T): T {
  try {
    return second();
  } catch (err) {
    throw wrap(err, `${messageOf(first)}; layers under short names`);
  }
}
