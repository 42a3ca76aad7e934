/** Entering namespaces that exist, by descriptor. */
import { wrap } from '@gantry/errors';
import { AT_FDCWD, CLONE_NEWPID, isErrno, O_RDONLY } from '@gantry/libc';
import type { FileCalls, MountCalls } from '@gantry/libc';
import type { JoinedNamespace } from './plan.ts';

export type JoinCalls = Pick<MountCalls, 'setns'>;

/**
 * Joins all, the user namespace last: what belongs to the host can only be joined with the host's capabilities. What
 * belongs to that user namespace is tried again from inside it.
 */
export function joinAll(sys: JoinCalls, joins: readonly JoinedNamespace[], user: JoinedNamespace | undefined): void {
  const refused: JoinedNamespace[] = [];
  for (const namespace of joins) {
    try {
      sys.setns(namespace.fd, namespace.flag);
    } catch (err) {
      if (user === undefined || !isErrno(err, 'EPERM')) throw joinError(err, namespace);
      refused.push(namespace);
    }
  }
  if (user === undefined) return;
  for (const namespace of [user, ...refused]) {
    try {
      sys.setns(namespace.fd, namespace.flag);
    } catch (err) {
      throw joinError(err, namespace);
    }
  }
}

function joinError(err: unknown, { type }: JoinedNamespace): Error {
  return wrap(err, `joining the ${type} namespace`);
}

/**
 * Runs `clone`, which gives birth to a process in another pid namespace: `fd` is that namespace or a pidfd of a process
 * in it. The calling process itself stays where it is; its later children too. Returns 0 in the child.
 */
export function cloneInPidNamespace(
  sys: JoinCalls & Pick<FileCalls, 'openat' | 'close'>,
  fd: number,
  clone: () => number,
): number {
  const own = sys.openat(AT_FDCWD, '/proc/self/ns/pid', O_RDONLY);
  let pid = -1;
  try {
    sys.setns(fd, CLONE_NEWPID);
    pid = clone();
    return pid;
  } finally {
    // The child must not try: it has no way back to where its parent is.
    if (pid !== 0) {
      sys.setns(own, CLONE_NEWPID);
      sys.close(own);
    }
  }
}
