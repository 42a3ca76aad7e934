/** Watching for kills by the kernel for lack of memory. */
import { AT_FDCWD, isErrno, linux, O_RDONLY } from '@gantry/libc';
import type { OomWatch } from './cgroup.ts';
import { parseKeyed, readGroupFile, writeGroupFile } from './group-file.ts';
import type { GroupFileCalls } from './group-file.ts';
import type { CgroupCalls } from './hierarchy.ts';

type OomCalls = GroupFileCalls & Pick<CgroupCalls, 'eventfd' | 'inotifyAddWatch' | 'inotifyInit' | 'poll'>;

const IN_MODIFY = 0x2;

/** v1 announces the lack of memory, then looks for a victim: the count may follow a moment later. */
const settlePauses = 3;
const settlePauseMs = 1;

/** A host without a memory controller: nothing is ever reported. */
export const noOomWatch: OomWatch = { fd: -1, read: () => 0, close: () => undefined };

/** Kills so far in a v1 memory group (kernel ≥ 4.13 counts them); 0 when the group is gone. */
export function oomKillsV1(directory: string, sys: GroupFileCalls = linux): number {
  return Number(parseKeyed(readGroupFile(directory, 'memory.oom_control', sys)).get('oom_kill') ?? 0n);
}

/** Kills so far in a v2 group and below it; 0 when the group is gone. */
export function oomKillsV2(directory: string, sys: GroupFileCalls = linux): number {
  return Number(parseKeyed(readGroupFile(directory, 'memory.events', sys)).get('oom_kill') ?? 0n);
}

/**
 * Watches a v1 group through an eventfd registered in cgroup.event_control. It also becomes readable when the group is
 * removed; `read` then answers 0.
 */
export function watchOomV1(sys: OomCalls, directory: string, known?: number): OomWatch {
  const fd = sys.eventfd(0);
  try {
    const control = sys.openat(AT_FDCWD, `${directory}/memory.oom_control`, O_RDONLY);
    try {
      writeGroupFile(directory, 'cgroup.event_control', `${fd} ${control}`, sys);
    } finally {
      sys.close(control);
    }
  } catch (err) {
    sys.close(fd);
    throw err;
  }
  let seen = known ?? oomKillsV1(directory, sys);
  return watch(sys, fd, () => {
    const pauses = drain(sys, fd) ? settlePauses : 0;
    let kills = oomKillsV1(directory, sys);
    for (let pause = 0; kills <= seen && pause < pauses; pause++) {
      sys.poll([], settlePauseMs);
      kills = oomKillsV1(directory, sys);
    }
    const fresh = Math.max(0, kills - seen);
    seen += fresh;
    return fresh;
  });
}

/** Watches a v2 group through inotify on memory.events. */
export function watchOomV2(sys: OomCalls, directory: string, known?: number): OomWatch {
  const fd = sys.inotifyInit();
  try {
    sys.inotifyAddWatch(fd, `${directory}/memory.events`, IN_MODIFY);
  } catch (err) {
    sys.close(fd);
    if (isErrno(err, 'ENOENT')) return noOomWatch;
    throw err;
  }
  let seen = known ?? oomKillsV2(directory, sys);
  return watch(sys, fd, () => {
    drain(sys, fd);
    const fresh = Math.max(0, oomKillsV2(directory, sys) - seen);
    seen += fresh;
    return fresh;
  });
}

function watch(sys: OomCalls, fd: number, read: () => number): OomWatch {
  let open = true;
  return {
    fd,
    read,
    close() {
      if (open) sys.close(fd);
      open = false;
    },
  };
}

/** Empties a non-blocking descriptor; true when there was something. */
function drain(sys: OomCalls, fd: number): boolean {
  const buffer = Buffer.alloc(4096);
  let any = false;
  while ((sys.read(fd, buffer) ?? 0) > 0) {
    any = true;
    // An eventfd is empty after one read of its 8 bytes; so is inotify when the buffer was not filled.
  }
  return any;
}
