/**
 * A view of a program that nobody can write through, to run the runtime's own process from.
 *
 * A container can get its hands on the binary of a process that enters it (/proc/PID/exe, `#!/proc/self/exe`) and keep
 * it open until no process runs it any more; then it would be written to (CVE-2019-5736). What it gets hold of here is a
 * file of an overlay without an upper layer, mounted nowhere: opening it for writing is EROFS for everybody, and there
 * is no mount that could be made writable. The memory of the program is shared with everyone else who runs it.
 */
import { basename, dirname } from 'node:path';
import { wrap } from '@gantry/errors';
import {
  AT_RECURSIVE,
  AT_FDCWD,
  AT_EMPTY_PATH,
  isErrno,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  O_PATH,
  O_NOFOLLOW,
} from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import { copyTree, mountDetached } from './rootfs/detached.ts';
import type { DetachedCalls } from './rootfs/detached.ts';

type Calls = DetachedCalls & Pick<FileCalls, 'openat' | 'fstatfs'>;

/**
 * Opens `executable` (absolute, no symlink) in such a view. The descriptor is the caller's; it is executed as
 * `/proc/self/fd/N`, or `/proc/PID/fd/N` from a child of PID. `emptyDirectory` is any directory of a local file system:
 * an overlay wants two layers. Throws where the kernel refuses both kinds of view.
 */
export function openSealedExecutable(sys: Calls, executable: string, emptyDirectory: string): number {
  const mount = sealedDirectory(sys, dirname(executable), emptyDirectory);
  try {
    return sys.openat(mount, basename(executable), O_PATH | O_NOFOLLOW);
  } catch (err) {
    throw wrap(err, `opening a sealed ${executable}`);
  } finally {
    sys.close(mount);
  }
}

function sealedDirectory(sys: Calls, directory: string, emptyDirectory: string): number {
  const attributes = { set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, clear: 0 };
  const lower = [directory, emptyDirectory].map((path) => path.replaceAll(/[\\:,]/g, String.raw`\$&`)).join(':');
  try {
    const data = [`lowerdir=${lower}`];
    return mountDetached(sys, { type: 'overlay', source: 'gantry-sealed', attributes, superFlags: ['ro'], data });
  } catch (err) {
    // No overlay here, or too many of them on top of each other: a read-only copy of the mount is the next best.
    if (!isErrno((err as Error).cause, 'ENODEV', 'EINVAL', 'EPERM', 'ELOOP')) throw err;
  }
  const copy = copyTree(sys, AT_FDCWD, directory, false);
  try {
    sys.mountSetattr(copy, '', AT_EMPTY_PATH | AT_RECURSIVE, attributes);
    return copy;
  } catch (err) {
    sys.close(copy);
    throw err;
  }
}
