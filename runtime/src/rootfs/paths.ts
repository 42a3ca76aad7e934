/** Masked and read-only paths: parts of proc and sysfs that a container must not see or must not change. */
import { failedPrecondition, wrap } from '@gantry/errors';
import { makedev, MOUNT_ATTR_RDONLY, S_IFCHR, S_IFMT } from '@gantry/libc';
import { labelOptions } from '../process/selinux.ts';
import { attach, copyTree, mountDetached, setAttributes } from './detached.ts';
import type { FileSystemCalls } from './filesystems.ts';
import { isDirectory, openIfPresent, openWithoutLinks, statOf, using } from './resolve.ts';

const NULL_DEVICE = makedev(1, 3);

/**
 * Hides each path that exists: a directory under an empty read-only tmpfs (one for all), anything else under the
 * container's own /dev/null. That is opened without following symlinks and must be the null device: an image that
 * puts a link there would otherwise choose what is shown instead.
 */
export function maskPaths(
  sys: FileSystemCalls,
  root: number,
  paths: readonly string[],
  label: string | undefined,
): void {
  const masks = new Masks(sys, root, label);
  try {
    for (const path of paths) {
      const target = openIfPresent(sys, root, path);
      if (target === undefined) continue;
      try {
        using(sys, target, () => masks.cover(target));
      } catch (err) {
        throw wrap(err, `masking ${path}`);
      }
    }
  } finally {
    masks.close();
  }
}

class Masks {
  readonly #sys: FileSystemCalls;
  readonly #root: number;
  readonly #label: string | undefined;
  #null: number | undefined;
  /** The first tmpfs, which is attached; the others are copies of it. */
  #empty: number | undefined;

  constructor(sys: FileSystemCalls, root: number, label: string | undefined) {
    this.#sys = sys;
    this.#root = root;
    this.#label = label;
  }

  cover(target: number): void {
    const sys = this.#sys;
    if (!isDirectory(statOf(sys, target))) {
      this.#null ??= openNull(sys, this.#root);
      using(sys, copyTree(sys, this.#null, '', false), (fd) => attach(sys, fd, target));
      return;
    }
    if (this.#empty !== undefined) {
      using(sys, copyTree(sys, this.#empty, '', false), (fd) => attach(sys, fd, target));
      return;
    }
    const attributes = { set: MOUNT_ATTR_RDONLY, clear: 0 };
    const data = labelOptions('tmpfs', this.#label);
    this.#empty = mountDetached(sys, { type: 'tmpfs', source: 'tmpfs', attributes, superFlags: ['ro'], data });
    attach(sys, this.#empty, target);
  }

  close(): void {
    for (const fd of [this.#null, this.#empty]) if (fd !== undefined) this.#sys.close(fd);
  }
}

function openNull(sys: FileSystemCalls, root: number): number {
  const fd = openWithoutLinks(sys, root, '/dev/null');
  const { mode, rdev } = statOf(sys, fd);
  if ((mode & S_IFMT) === S_IFCHR && rdev === NULL_DEVICE) return fd;
  sys.close(fd);
  throw failedPrecondition('/dev/null of the container is not the null device');
}

/** Makes each path that exists read-only with all below it; nosuid, nodev and noexec stay as they are. */
export function protectPaths(sys: FileSystemCalls, root: number, paths: readonly string[]): void {
  for (const path of paths) {
    const target = openIfPresent(sys, root, path);
    if (target === undefined) continue;
    try {
      using(sys, target, () => protect(sys, target));
    } catch (err) {
      throw wrap(err, `making ${path} read-only`);
    }
  }
}

function protect(sys: FileSystemCalls, target: number): void {
  using(sys, copyTree(sys, target, '', true), (fd) => {
    setAttributes(sys, fd, { set: MOUNT_ATTR_RDONLY, clear: 0 }, true);
    attach(sys, fd, target);
  });
}
