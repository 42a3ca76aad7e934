/** Making the assembled root file system the only one. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  isErrno,
  MNT_DETACH,
  MS_PRIVATE,
  MS_REC,
  MS_SLAVE,
  O_DIRECTORY,
  O_PATH,
} from '@gantry/libc';
import type { FileCalls, MountCalls } from '@gantry/libc';

export type PivotCalls = Pick<
  MountCalls,
  'fchdir' | 'chdir' | 'pivotRoot' | 'umount2' | 'chroot' | 'mountSetattr' | 'mount'
> &
  Pick<FileCalls, 'openat' | 'close'>;

/**
 * Exchanges the roots and lets the old one go with everything in it (pivot_root(2), "pivot_root(".", ".")").
 * `newRoot` is mounted on top of the old root. Nothing of this is seen by the host: an old root that still sends its
 * changes there (`rootfsPropagation: shared`) is made a slave before it is taken down.
 */
export function pivot(sys: PivotCalls, newRoot: number, isShared: boolean): void {
  const oldRoot = isShared ? sys.openat(AT_FDCWD, '/', O_PATH | O_DIRECTORY) : undefined;
  sys.fchdir(newRoot);
  sys.pivotRoot('.', '.');
  if (oldRoot !== undefined) {
    // Only now the container's own mounts are no part of it any more.
    sys.mountSetattr(oldRoot, '', AT_EMPTY_PATH | AT_RECURSIVE, { set: 0, clear: 0, propagation: MS_SLAVE });
    sys.close(oldRoot);
  }
  sys.umount2('.', MNT_DETACH);
  sys.chdir('/');
}

/**
 * For a root that cannot be exchanged (an initramfs): the new root lies on top of the old one and becomes ours by
 * chroot. Mounts of proc and sysfs of the host are taken down first: whoever found a way back below would find them.
 */
export function chrootInstead(sys: PivotCalls, newRoot: number, revealing: readonly string[]): void {
  for (const mountPoint of revealing) {
    try {
      sys.mount(undefined, mountPoint, undefined, MS_PRIVATE | MS_REC, undefined);
      sys.umount2(mountPoint, MNT_DETACH);
    } catch (err) {
      // Locked by the user namespace: an empty tmpfs hides it as well.
      if (!isErrno(err, 'EINVAL', 'EPERM')) throw err;
      sys.mount('tmpfs', mountPoint, 'tmpfs', 0, undefined);
    }
  }
  enterDirectoryAsRoot(sys, newRoot);
}

/** Only the directory becomes another one; the mounts stay everybody's. */
export function enterDirectoryAsRoot(sys: Pick<MountCalls, 'fchdir' | 'chroot' | 'chdir'>, newRoot: number): void {
  sys.fchdir(newRoot);
  sys.chroot('.');
  sys.chdir('/');
}

/** The mount points of proc and sysfs in a mountinfo text (proc(5)), the innermost first. */
export function revealingMounts(mountinfo: string): string[] {
  return mountinfo
    .split('\n')
    .filter((line) => / - (?:proc|sysfs) /.test(line))
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith('/'))
    .map((path) =>
      path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8))),
    )
    .reverse();
}
