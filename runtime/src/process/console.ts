/** A pseudo terminal from the container's own devpts (pts(4)). */
import { failedPrecondition, wrap } from '@gantry/errors';
import {
  AT_EMPTY_PATH,
  DEVPTS_SUPER_MAGIC,
  isErrno,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
} from '@gantry/libc';
import type { ChannelCalls, MountCalls } from '@gantry/libc';
import { attach, copyTree } from '../rootfs/detached.ts';
import type { FileSystemCalls } from '../rootfs/filesystems.ts';
import { openWithoutLinks, using } from '../rootfs/resolve.ts';
import type { FileCalls } from '@gantry/libc';
import type { ProcessPlan } from './plan.ts';

export type ConsoleCalls = FileSystemCalls &
  Pick<FileCalls, 'fchownat'> &
  Pick<MountCalls, 'fchdir'> &
  Pick<ChannelCalls, 'openPty' | 'setTerminalSize' | 'setControllingTerminal'>;

export interface Console {
  readonly master: number;
  readonly slave: number;
}

/**
 * Allocates a terminal for the process: `root` is the container's root directory. The file system at /dev/pts must be a
 * devpts and is used by descriptor, so that no path of the container decides which terminal it is (CVE-2025-52565).
 * Changes the working directory.
 */
export function openConsole(sys: ConsoleCalls, root: number, plan: ProcessPlan): Console {
  let pts: number;
  try {
    pts = openWithoutLinks(sys, root, '/dev/pts', O_DIRECTORY);
  } catch (err) {
    throw wrap(err, 'a terminal needs devpts at /dev/pts of the container');
  }
  try {
    if (sys.fstatfs(pts).type !== DEVPTS_SUPER_MAGIC) {
      throw failedPrecondition('a terminal needs devpts at /dev/pts of the container');
    }
    sys.fchdir(pts);
    const { master, slave } = sys.openPty('ptmx');
    if (plan.consoleSize !== undefined) sys.setTerminalSize(master, plan.consoleSize);
    giveTo(sys, slave, plan.uid);
    return { master, slave };
  } finally {
    sys.close(pts);
  }
}

function giveTo(sys: ConsoleCalls, slave: number, uid: number): void {
  try {
    const { gid } = sys.fstatat(slave, '', AT_EMPTY_PATH);
    sys.fchownat(slave, '', uid, gid, AT_EMPTY_PATH);
  } catch (err) {
    if (!isErrno(err, 'EPERM', 'EINVAL', 'EROFS')) throw err;
  }
}

/** Shows the terminal as /dev/console of the container. */
export function bindConsole(sys: ConsoleCalls, root: number, slave: number): void {
  using(sys, openWithoutLinks(sys, root, '/dev', O_DIRECTORY), (dev) => {
    sys.close(sys.openat(dev, 'console', O_RDONLY | O_CREAT | O_NOFOLLOW, 0o666));
    using(sys, sys.openat(dev, 'console', O_PATH | O_NOFOLLOW), (target) => {
      using(sys, copyTree(sys, slave, '', false), (fd) => attach(sys, fd, target));
    });
  });
}
