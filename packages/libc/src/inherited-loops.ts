/**
 * What a fork of a Node process inherits and has no use for: the descriptors of event loops that belong to threads of
 * Node's (its platform, its tracing). The threads are not there in the child, but code of V8 may still write a wake-up
 * call for them, and ends the process when that fails. So the numbers stay and lead nowhere.
 */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { CLOSE_RANGE_CLOEXEC } from './constants/open.ts';
import { declare } from './native.ts';
import { NR } from './syscall-numbers.ts';
import type { FileCalls, ProcessCalls } from './syscalls.ts';

const c = declare('node', {
  // uv_loop_t *uv_default_loop(void): Node's own loop, owned by libuv
  defaultLoop: 'uint64_t uv_default_loop(void)',
  // int uv_backend_fd(const uv_loop_t *loop): its epoll descriptor
  backendFd: 'int uv_backend_fd(uint64_t loop)',
});

const glibc = declare('glibc', {
  // int syscall(SYS_kcmp, pid_t pid1, pid_t pid2, int type, unsigned long idx1, unsigned long idx2); 0: the same
  kcmp: 'long syscall(long nr, int pid1, int pid2, int type, ulong idx1, ulong idx2)',
});

const KCMP_FILE = 0;

/** What a process has open for loops that a child will not run. */
export interface OtherLoops {
  /** The process. */
  readonly pid: number;
  /** Descriptor → what it is open on. The rings of its own loop are among them: nothing tells them apart. */
  readonly descriptors: ReadonlyMap<number, string>;
}

const ring = 'anon_inode:[io_uring]';
const waking = /^(?:pipe:|anon_inode:\[(?:eventpoll|eventfd|io_uring)\])/;

/**
 * The descriptors of every event loop of this process but the main one. To be called before a fork, when the main loop
 * has turned once; good for every child.
 */
export function findOtherLoops(): OtherLoops {
  const own = c.backendFd(c.defaultLoop());
  const open = openDescriptors();
  const ownTargets = new Set(watchedBy(own).map((fd) => open.get(fd)));
  const isOwn = (fd: number, target: string): boolean =>
    // The ends of a pipe have one name; eventfds all have the same.
    fd === own || watchedBy(own).includes(fd) || (target.startsWith('pipe:') && ownTargets.has(target));
  const others = [...open].filter(([fd, target]) => fd > 2 && waking.test(target) && !isOwn(fd, target));
  return { pid: process.pid, descriptors: new Map(others) };
}

/**
 * In the child, after `reopenEventLoop`: makes those descriptors the null device, and everything above standard error
 * close-on-exec. A pipe or a ring that libuv has replaced at the fork by a new one is its own and stays.
 */
export function detachFromOtherLoops(
  sys: Pick<FileCalls, 'dup2' | 'closeRange'> & Pick<ProcessCalls, 'getpid'>,
  others: OtherLoops,
): void {
  const nowhere = openSync('/dev/null', 'r+');
  const self = sys.getpid();
  for (const [fd, target] of others.descriptors) if (isInherited(fd, target, self, others.pid)) sys.dup2(nowhere, fd);
  closeSync(nowhere);
  sys.closeRange(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
}

/** Whether a descriptor is still open on what the parent had it open on. Rings are asked after at the kernel (kcmp(2)). */
function isInherited(fd: number, target: string, self: number, parent: number): boolean {
  if (target === ring) return glibc.kcmp(NR.kcmp, self, parent, KCMP_FILE, fd, fd) === 0;
  return !target.startsWith('pipe:') || readlinkSync(`/proc/self/fd/${fd}`) === target;
}

function openDescriptors(): Map<number, string> {
  const open = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      open.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The descriptor of the listing itself is closed by now.
    }
  }
  return open;
}

/** What an epoll descriptor waits for (proc(5), /proc/PID/fdinfo). */
function watchedBy(epoll: number): number[] {
  const text = readFileSync(`/proc/self/fdinfo/${epoll}`, 'latin1');
  return [...text.matchAll(/^tfd:\s+(\d+)/gm)].map((match) => Number(match[1]));
}
