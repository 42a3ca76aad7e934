/**
 * A view of a program that nobody can write through, to run processes from that a container may lay hands on.
 *
 * A container can get at the binary of a process that enters it (/proc/PID/exe, `#!/proc/self/exe`) and keep it open
 * until no process runs it any more; then it would be written to (CVE-2019-5736). What it gets hold of here is a file of
 * an overlay without an upper layer, mounted nowhere: opening it for writing is EROFS for everybody, and there is no
 * mount that could be made writable. The memory of the program is shared with everyone else who runs it.
 */
import { basename, dirname } from 'node:path';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  O_NOFOLLOW,
  O_PATH,
  OPEN_TREE_CLONE,
} from './constants.ts';
import { isErrno } from './syscall-error.ts';
import type { FileCalls, MountCalls } from './syscalls.ts';

type Calls = Pick<
  MountCalls,
  'fsopen' | 'fsconfigString' | 'fsconfigFlag' | 'fsconfigCreate' | 'fsmount' | 'openTree' | 'mountSetattr'
> &
  Pick<FileCalls, 'openat' | 'close'>;

const readOnly = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

/**
 * Opens `executable` (absolute, no symlink) in such a view. The descriptor is the caller's; it is executed as
 * `/proc/self/fd/N`, or as `/proc/PID/fd/N` by a child of PID. `emptyDirectory` is any directory of a local file system:
 * an overlay wants two layers. Throws where the kernel refuses both kinds of view.
 */
export function openSealedExecutable(sys: Calls, executable: string, emptyDirectory: string): number {
  const mount = sealedDirectory(sys, dirname(executable), emptyDirectory);
  try {
    return sys.openat(mount, basename(executable), O_PATH | O_NOFOLLOW);
  } finally {
    sys.close(mount);
  }
}

function sealedDirectory(sys: Calls, directory: string, emptyDirectory: string): number {
  try {
    return overlayOf(sys, directory, emptyDirectory);
  } catch (err) {
    // No overlay here, or too many of them on top of each other: a read-only copy of the mount is the next best.
    if (!isErrno(err, 'ENODEV', 'EINVAL', 'EPERM', 'ELOOP')) throw err;
  }
  const copy = sys.openTree(AT_FDCWD, directory, OPEN_TREE_CLONE);
  try {
    sys.mountSetattr(copy, '', AT_EMPTY_PATH | AT_RECURSIVE, { set: readOnly, clear: 0 });
    return copy;
  } catch (err) {
    sys.close(copy);
    throw err;
  }
}

function overlayOf(sys: Calls, directory: string, emptyDirectory: string): number {
  const layers = [directory, emptyDirectory].map((path) => path.replaceAll(/[\\:,]/g, String.raw`\$&`));
  const context = sys.fsopen('overlay');
  try {
    sys.fsconfigString(context, 'source', 'gantry-sealed');
    sys.fsconfigFlag(context, 'ro');
    sys.fsconfigString(context, 'lowerdir', layers.join(':'));
    sys.fsconfigCreate(context);
    return sys.fsmount(context, readOnly);
  } finally {
    sys.close(context);
  }
}
