/** A time namespace with shifted clocks (time_namespaces(7)). clone(2) cannot make one; its process enters it itself. */
import { CLONE_NEWTIME, O_RDONLY, O_WRONLY } from '@gantry/libc';
import type { FileCalls, MountCalls } from '@gantry/libc';
import type { LinuxTimeOffsets } from '@gantry/oci';

type Calls = Pick<MountCalls, 'unshare' | 'setns'> & Pick<FileCalls, 'openat' | 'write' | 'close'>;

/**
 * Makes the namespace and sets its clocks; the calling process's next child is born in it. `procSelf` is a descriptor of
 * /proc/self of the host's procfs; the offsets can be written as long as nobody is inside.
 */
export function makeTimeNamespace(sys: Calls, procSelf: number, offsets: LinuxTimeOffsets | undefined): void {
  sys.unshare(CLONE_NEWTIME);
  const lines = (['monotonic', 'boottime'] as const).flatMap((clock) => {
    const offset = offsets?.[clock];
    return offset === undefined ? [] : [`${clock} ${offset.secs ?? 0} ${offset.nanosecs ?? 0}\n`];
  });
  if (lines.length === 0) return;
  const fd = sys.openat(procSelf, 'timens_offsets', O_WRONLY);
  try {
    sys.write(fd, Buffer.from(lines.join('')));
  } finally {
    sys.close(fd);
  }
}

/** Makes the namespace, sets its clocks and enters it. */
export function enterNewTimeNamespace(sys: Calls, procSelf: number, offsets: LinuxTimeOffsets | undefined): void {
  makeTimeNamespace(sys, procSelf, offsets);
  const own = sys.openat(procSelf, 'ns/time_for_children', O_RDONLY);
  try {
    sys.setns(own, CLONE_NEWTIME);
  } finally {
    sys.close(own);
  }
}
