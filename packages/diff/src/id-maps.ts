/**
 * Mounts with mapped ids, as the differ wants them. A layer holds the container's ids, and so does everything that is compared
 * with or applied to one; of a snapshot that shows other ids only the upper directory of an overlay is stored with those.
 *
 *     of mounts with maps          │ holds               │ is used
 *     lower directories, a bind    │ the container's ids │ as it is
 *     the upper directory          │ the host's ids      │ through the reversed map
 */
import { spawnMappingNamespace } from '@gantry/libc';
import type { IdRange, Syscalls } from '@gantry/libc';
import { idMapsOfOptions, reversedIdMaps } from '@gantry/oci';
import type { IdMapping, IdMaps } from '@gantry/oci';
import type { DiffMount } from './differ-types.ts';

/** A mount without maps among its options. */
export interface PlainMount extends DiffMount {
  /** The upper directory holds other ids than layers do: a user namespace with the maps that lead back. */
  readonly upperNamespace?: number;
}

/** The mounts without their maps; the descriptors in them go with it. Rejects with invalid argument for maps that cannot be. */
export async function plainMounts(
  sys: Syscalls,
  mounts: readonly DiffMount[],
): Promise<{ readonly mounts: readonly PlainMount[] } & Disposable> {
  const plain: PlainMount[] = [];
  const close = (): void => {
    for (const { upperNamespace } of plain) if (upperNamespace !== undefined) sys.close(upperNamespace);
  };
  try {
    for (const mount of mounts) plain.push(await plainMount(sys, mount));
  } catch (err) {
    close();
    throw err;
  }
  return { mounts: plain, [Symbol.dispose]: close };
}

async function plainMount(sys: Syscalls, mount: DiffMount): Promise<PlainMount> {
  const { maps, others } = idMapsOfOptions(mount.options);
  if (maps === undefined) return mount;
  const plain = { ...mount, options: others };
  const hasUpper = mount.type === 'overlay' && others.some((option) => option.startsWith('upperdir='));
  if (!hasUpper) return plain;
  return { ...plain, upperNamespace: await reversedNamespace(sys, maps) };
}

/** A user namespace whose maps lead from the host's ids to the container's; the descriptor is the caller's. */
export async function reversedNamespace(sys: Syscalls, maps: IdMaps): Promise<number> {
  const { uidMappings, gidMappings } = reversedIdMaps(maps);
  return spawnMappingNamespace(sys, uidMappings.map(rangeOf), gidMappings.map(rangeOf));
}

function rangeOf({ containerID, hostID, size }: IdMapping): IdRange {
  return { inside: containerID, outside: hostID, length: size };
}
