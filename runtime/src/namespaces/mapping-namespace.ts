/**
 * A user namespace for nothing but its maps: what an id-mapped mount is told whose file is whose
 * (mount_setattr(2), MOUNT_ATTR_IDMAP).
 */
import { AT_FDCWD, CLONE_NEWUSER, O_RDONLY, SIGKILL } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { IdMapping } from '@gantry/oci';
import { hiddenClone } from '../hidden-clone.ts';
import { writeMap } from './user-mappings.ts';

/** A descriptor of such a namespace, the caller's; the process that it was made with is gone when this returns. */
export function mappingNamespace(
  sys: Syscalls,
  uidMappings: readonly IdMapping[],
  gidMappings: readonly IdMapping[],
): number {
  const { readEnd, writeEnd } = sys.pipe2(0);
  const pid = hiddenClone(sys, CLONE_NEWUSER);
  if (pid === 0) {
    // Until it is killed, or its parent is gone.
    sys.close(writeEnd);
    sys.read(readEnd, Buffer.alloc(1));
    return sys.exitNow(0);
  }
  sys.close(readEnd);
  const pidfd = sys.pidfdOpen(pid);
  try {
    writeMap(sys, `/proc/${pid}/uid_map`, uidMappings);
    writeMap(sys, `/proc/${pid}/gid_map`, gidMappings);
    return sys.openat(AT_FDCWD, `/proc/${pid}/ns/user`, O_RDONLY);
  } finally {
    sys.pidfdSendSignal(pidfd, SIGKILL);
    sys.wait4(pid, 0);
    sys.close(pidfd);
    sys.close(writeEnd);
  }
}
