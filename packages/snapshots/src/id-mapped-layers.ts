/**
 * Layers that a container in a user namespace uses with other ids than they are stored with.
 *
 *     committed layer      the container's ids (0 is its root)       shared by all containers, whatever their maps
 *     mounted              the host's ids (0 is shown as 100000)     an id-mapped copy of the mount, made by whoever mounts
 *     upper directory      the host's ids                            overlayfs writes there as the container's processes
 *     after a commit       the container's ids                       copied through the reversed map
 *
 * Nothing is walked or copied before a commit, which copies what the container has written and nothing else.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { release } from 'node:os';
import path from 'node:path';
import { invalidArgument, messageOf } from '@gantry/errors';
import { AT_EMPTY_PATH, isErrno, linux, MOUNT_ATTR_RDONLY, openMappedTree, spawnMappingNamespace } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { hostIdOf } from '@gantry/oci';
import type { IdMaps } from '@gantry/oci';

/**
 * Copies an upper directory to `to`, which does not exist, with the container's ids, whiteouts and overlayfs's own attributes
 * included. What belongs to an id that the container has not becomes nobody's. The container may be writing meanwhile, and is
 * not to be trusted; so whoever unpacks layers does this too (packages/diff).
 */
export type CopyMapped = (request: {
  readonly from: string;
  readonly to: string;
  readonly maps: IdMaps;
}) => Promise<void>;

/** The host's ids of the container's root. */
export function mappedRoot({ uidMappings, gidMappings }: IdMaps): [uid: number, gid: number] {
  const [uid, gid] = [hostIdOf(uidMappings, 0), hostIdOf(gidMappings, 0)];
  if (uid === undefined || gid === undefined) throw invalidArgument('id map without a root');
  return [uid, gid];
}

async function mapsNamespace(sys: Syscalls, { uidMappings, gidMappings }: IdMaps): Promise<number> {
  const ranges = (mappings: IdMaps['uidMappings']): Parameters<typeof spawnMappingNamespace>[1] =>
    mappings.map(({ containerID, hostID, size }) => ({ inside: containerID, outside: hostID, length: size }));
  return spawnMappingNamespace(sys, ranges(uidMappings), ranges(gidMappings));
}

/**
 * Why layers below `root` cannot be shown with other owners, found out by doing it: an overlay over an id-mapped copy of a
 * directory there, attached nowhere. Undefined when they can (Linux 5.19 and a file system that takes part).
 */
export async function idMapsUnusable(root: string, sys: Syscalls = linux): Promise<string | undefined> {
  const maps: IdMaps = {
    uidMappings: [{ containerID: 0, hostID: 666, size: 1 }],
    gidMappings: [{ containerID: 0, hostID: 667, size: 1 }],
  };
  let scratch = '';
  try {
    await mkdir(root, { recursive: true, mode: 0o700 });
    scratch = await mkdtemp(path.join(root, 'probe-'));
    const [lower, empty] = [path.join(scratch, 'lower'), path.join(scratch, 'empty')];
    for (const directory of [lower, empty]) await mkdir(directory);
    const namespace = await mapsNamespace(sys, maps);
    try {
      return mappedOverlayUnusable(sys, openMappedTree(sys, lower, namespace, MOUNT_ATTR_RDONLY), empty);
    } finally {
      sys.close(namespace);
    }
  } catch (err) {
    return `id-mapped layers below ${root}: ${messageOf(err)}`;
  } finally {
    if (scratch !== '') await rm(scratch, { recursive: true, force: true });
  }
}

/** Whether an overlay over `tree`, which this closes, shows the mapped owner. */
function mappedOverlayUnusable(sys: Syscalls, tree: number, empty: string): string | undefined {
  const context = sys.fsopen('overlay');
  try {
    sys.fsconfigString(context, 'lowerdir', `/proc/self/fd/${tree}:${empty}`);
    sys.fsconfigCreate(context);
    const mount = sys.fsmount(context, MOUNT_ATTR_RDONLY);
    const { uid, gid } = sys.fstatat(mount, '', AT_EMPTY_PATH);
    sys.close(mount);
    return uid === 666 && gid === 667 ? undefined : `an overlay over an id-mapped layer shows owner ${uid}:${gid}`;
  } catch (err) {
    // Before Linux 6.15 a layer must be attached somewhere; that overlays take mapped ones is then told by the version.
    if (!isErrno(err, 'EINVAL')) throw err;
    return isAtLeast(release(), 5, 19) ? undefined : `Linux ${release()} has no id-mapped layers of overlays`;
  } finally {
    sys.close(context);
    sys.close(tree);
  }
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [own = 0, ownMinor = 0] = version.split(/[.-]/).map(Number);
  return own > major || (own === major && ownMinor >= minor);
}
