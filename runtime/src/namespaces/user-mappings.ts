/** The ids of a user namespace: written by the privileged parent, and looked up for what must be owned by the container. */
import { wrap } from '@gantry/errors';
import { AT_FDCWD, O_WRONLY } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import type { IdMapping, Spec } from '@gantry/oci';

export type MappingCalls = Pick<FileCalls, 'openat' | 'write' | 'close'>;

/** Writes uid_map and gid_map of the process that was just born in a new user namespace (user_namespaces(7)). */
export function writeMappings(sys: MappingCalls, pid: number, spec: Spec): void {
  writeMap(sys, `/proc/${pid}/uid_map`, spec.linux?.uidMappings ?? []);
  writeMap(sys, `/proc/${pid}/gid_map`, spec.linux?.gidMappings ?? []);
}

/** Writes one map, whole. */
export function writeMap(sys: MappingCalls, path: string, mappings: readonly IdMapping[]): void {
  const text = mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join('');
  try {
    writeOnce(sys, path, text);
  } catch (err) {
    throw wrap(err, `writing ${path}`);
  }
}

/** One write(2) of a whole text: files of proc take no second one. */
export function writeOnce(sys: MappingCalls, path: string, text: string): void {
  const fd = sys.openat(AT_FDCWD, path, O_WRONLY);
  try {
    sys.write(fd, Buffer.from(text));
  } finally {
    sys.close(fd);
  }
}

/** The host's id of a container's id; undefined when it is not mapped. Without mappings they are the same. */
export function hostId(mappings: readonly IdMapping[] | undefined, id: number): number | undefined {
  if (mappings === undefined || mappings.length === 0) return id;
  const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range === undefined ? undefined : range.hostID + (id - range.containerID);
}
