/** What the kernel says of a running container's mounts and descriptors. */
import { readFileSync, readlinkSync } from 'node:fs';
import { isErrno, AT_FDCWD, O_DIRECTORY, O_PATH } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { isDirectory, openIfPresent, statOf, using } from '../rootfs/resolve.ts';

/** A place of the container where something is mounted. */
export interface MountPlace {
  readonly path: string;
  readonly isDirectory: boolean;
}

/** One of a process's descriptors. */
export interface OpenFile {
  /** What /proc/PID/fd/N points to. */
  readonly link: string;
  readonly mountId: number;
  readonly inode: bigint;
}

export class ContainerView {
  readonly #sys: Syscalls;
  readonly #pid: number;
  readonly #mounts: ReadonlyMap<number, string>;

  /** `pid` must be kept from being another process's by the caller. */
  constructor(sys: Syscalls, pid: number) {
    this.#sys = sys;
    this.#pid = pid;
    this.#mounts = parseMountPoints(readFileSync(`/proc/${pid}/mountinfo`, 'latin1'));
  }

  /** True for a mount that the container can see. */
  hasMount(mountId: number): boolean {
    return this.#mounts.has(mountId);
  }

  /** The real place that `unsafePath` of the configuration means, when something is mounted there. */
  mountAt(unsafePath: string): MountPlace | undefined {
    const sys = this.#sys;
    return using(sys, sys.openat(AT_FDCWD, `/proc/${this.#pid}/root`, O_PATH | O_DIRECTORY), (root) => {
      const place = this.#openPlace(root, unsafePath);
      if (place === undefined) return undefined;
      return using(sys, place, (fd) => {
        const mountPoint = this.#mounts.get(mountIdOf('self', fd));
        // Both are paths from the top of the container's mounts.
        if (mountPoint === undefined || readlinkSync(`/proc/self/fd/${fd}`) !== mountPoint) return undefined;
        return { path: mountPoint, isDirectory: isDirectory(statOf(sys, fd)) };
      });
    });
  }

  #openPlace(root: number, unsafePath: string): number | undefined {
    try {
      return openIfPresent(this.#sys, root, unsafePath);
    } catch (err) {
      if (isErrno(err, 'ENOTDIR', 'ELOOP', 'EACCES')) return undefined;
      throw err;
    }
  }

  openFile(fd: number): OpenFile | undefined {
    const path = `/proc/${this.#pid}/fd/${fd}`;
    try {
      const { ino } = this.#sys.fstatat(AT_FDCWD, path, 0);
      return { link: readlinkSync(path), mountId: mountIdOf(this.#pid, fd), inode: ino };
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return undefined;
      throw err;
    }
  }
}

function mountIdOf(pid: number | 'self', fd: number): number {
  const text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1');
  return Number(/^mnt_id:\s*(\d+)$/m.exec(text)?.[1] ?? -1);
}

/** Mount id → mount point, from a text of /proc/PID/mountinfo. */
export function parseMountPoints(mountinfo: string): Map<number, string> {
  const points = new Map<number, string>();
  for (const line of mountinfo.split('\n')) {
    const [id = '', , , , path] = line.split(' ');
    if (path !== undefined) points.set(Number(id), unescape(path));
  }
  return points;
}

/** The kernel writes blanks and backslashes as three octal digits; the rest are bytes. */
function unescape(path: string): string {
  const bytes = path.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString();
}
