/**
 * Makes an overlay and says what it shows: `node --single-threaded overlay-driver.js REFUSED JSON`. The kernel refuses what
 * REFUSED says (`nothing`, `descriptors`, `lists`), as older ones do. For tests only.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { messageOf } from '@gantry/errors';
import { linux, MOUNT_ATTR_NOSUID, SyscallError } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { IdMaps } from '@gantry/oci';
import { mountOverlay } from '../rootfs/overlay.ts';

export interface OverlayRequest {
  /** Options of the overlay. */
  readonly data: readonly string[];
  readonly maps?: IdMaps;
  /** Files to look at. */
  readonly files: readonly string[];
  /** A file to be made there. */
  readonly make?: string;
}

export interface OverlayResult {
  readonly error?: string;
  /** `owner:group mode` of each file. */
  readonly seen: readonly string[];
  /** What is different of this process afterwards: its mounts, directory, descriptors. */
  readonly left: readonly string[];
}

const [, , refused = '', text = ''] = process.argv;
const request = JSON.parse(text) as OverlayRequest;

function refuse(): never {
  throw new SyscallError('fsconfig', 22, 'EINVAL', 'invalid argument', '');
}

const sys: Syscalls = {
  ...linux,
  fsconfigFd: (...words) => (refused === 'descriptors' ? refuse() : linux.fsconfigFd(...words)),
  fsconfigString: (fd, key, value) =>
    refused === 'lists' && key === 'lowerdir+' ? refuse() : linux.fsconfigString(fd, key, value),
};

function state(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length;
  return [`${mounts} mounts`, linux.getcwd(), `${readdirSync('/proc/self/fd').length} descriptors`];
}

function look(): Omit<OverlayResult, 'left'> {
  const { data, maps, files, make } = request;
  const attributes = { set: MOUNT_ATTR_NOSUID, clear: 0 };
  try {
    const fd = mountOverlay(sys, { type: 'overlay', source: 'overlay', attributes, superFlags: [], data }, maps);
    try {
      if (make !== undefined) linux.mkdirat(fd, make, 0o755);
      const seen = files.map((file) => {
        const { uid, gid, mode } = linux.fstatat(fd, file, 0);
        return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`;
      });
      return { seen };
    } finally {
      linux.close(fd);
    }
  } catch (err) {
    return { error: messageOf(err), seen: [] };
  }
}

state();
const before = state();
const result = look();
const left = state().filter((line, index) => line !== before[index]);
process.stdout.write(JSON.stringify({ ...result, left } satisfies OverlayResult));
