/**
 * Clients built before mounts could carry `uidmap=` and `gidmap=` (containerd 1.7): the kernel refuses what they mount with them.
 * They get the mounts without, which show a layer's own ids, all that they look for is names and groups in it; and what they
 * then ask to run on is mapped here.
 */
import type { types } from '@gantry/api';
import { idMapsOfOptions } from '@gantry/oci';
import type { Mount, SnapshotStore } from '@gantry/snapshots';
import type { Call } from '../rpc/call.ts';

/** The minor version of Go's gRPC package in the first client that knows: containerd 1.7.0. */
const knowing = 53;

/** Mounts as the caller can use them. */
export function mountsFor(call: Pick<Call, 'userAgent'>, mounts: readonly Mount[]): Mount[] {
  if (!isOld(call.userAgent)) return [...mounts];
  return mounts.map((mount) => ({ ...mount, options: mount.options.filter((option) => !/^[ug]idmap=/.test(option)) }));
}

/** What a caller asks to run on, mapped where it is a snapshot's mounts that it was given without their maps. */
export async function rootfsOf(
  call: Pick<Call, 'userAgent' | 'namespace'>,
  snapshots: Pick<SnapshotStore, 'mounts'>,
  container: { readonly snapshotter: string; readonly snapshotKey: string },
  rootfs: readonly types.Mount[],
): Promise<readonly types.Mount[]> {
  if (!isOld(call.userAgent) || rootfs.length === 0 || container.snapshotKey === '') return rootfs;
  const mounts = await snapshots.mounts(call.namespace, container.snapshotter, container.snapshotKey).catch(() => []);
  const mapped = mounts.map(({ type, source, target = '', options }) => ({
    type,
    source,
    target,
    options: [...options],
  }));
  const isWhole = rootfs.length === mapped.length && rootfs.every((mount, index) => isSame(mount, mapped[index]));
  return isWhole ? mapped : rootfs;
}

function isSame(given: types.Mount, mapped: types.Mount | undefined): boolean {
  if (mapped === undefined || given.type !== mapped.type || given.source !== mapped.source) return false;
  // A client may add words of its own (an SELinux label), and then has to know what it does.
  return given.options.join('\0') === idMapsOfOptions(mapped.options).others.join('\0');
}

function isOld(userAgent: string | undefined): boolean {
  const minor = /\bgrpc-go\/1\.(\d+)/.exec(userAgent ?? '')?.[1];
  return minor !== undefined && Number(minor) < knowing;
}
