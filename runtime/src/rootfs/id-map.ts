/** Id-mapped bind mounts: the mount shows the files of its source with other owners (Linux 5.12). */
import { invalidArgument, wrap } from '@gantry/errors';
import { AT_EMPTY_PATH, AT_RECURSIVE, isErrno, MOUNT_ATTR_IDMAP } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { IdMapping, Mount, Spec } from '@gantry/oci';
import { mappingNamespace } from '../namespaces/mapping-namespace.ts';
import type { MountOptions } from './mount-options.ts';

/** What a mount asks for; undefined when it is an ordinary one. */
export interface IdMap {
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
  readonly recursive: boolean;
}

/**
 * Mappings of the mount's own, or the container's where an option says no more than that. Invalid argument for a mount
 * that cannot be mapped.
 */
export function idMapOf(spec: Spec, mount: Mount, options: MountOptions, isBind: boolean): IdMap | undefined {
  const own = mount.uidMappings !== undefined || mount.gidMappings !== undefined;
  if (options.idmap === 'no' && !own) return undefined;
  if (!isBind) throw invalidArgument('id-mapped mounts are only supported for bind-mounts');
  const { uidMappings = [], gidMappings = [] } = own ? mount : (spec.linux ?? {});
  if (uidMappings.length === 0 || gidMappings.length === 0) {
    throw invalidArgument('id-mapped mounts must have both uid and gid mappings specified');
  }
  return { uidMappings, gidMappings, recursive: options.idmap === 'recursive' };
}

/** Maps a detached copy of a tree, which nobody else can see yet. */
export function applyIdMap(sys: Syscalls, fd: number, { uidMappings, gidMappings, recursive }: IdMap): void {
  const userNamespaceFd = mappingNamespace(sys, uidMappings, gidMappings);
  try {
    const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    sys.mountSetattr(fd, '', flags, { set: MOUNT_ATTR_IDMAP, clear: 0, userNamespaceFd });
  } catch (err) {
    const why = isErrno(err, 'EINVAL') ? ' (does its file system support id-mapped mounts?)' : '';
    throw wrap(err, `failed to set MOUNT_ATTR_IDMAP on the mount${why}`);
  } finally {
    sys.close(userNamespaceFd);
  }
}
