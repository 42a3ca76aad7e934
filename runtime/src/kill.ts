/** Signals: by pidfd, so that no other process can be hit by a pid that was used again. */
import { invalidArgument, notFound, wrap } from '@gantry/errors';
import { isErrno, POLLIN, SIGKILL, SIGNAL_MAX } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { ContainerParts } from './container-parts.ts';

/** See `Container.kill`. */
export function killContainer(sys: Syscalls, parts: ContainerParts, signal: number, all: boolean): void {
  const { cgroup, child, hasPrivatePidNamespace } = parts;
  if (!Number.isInteger(signal) || signal < 0 || signal > SIGNAL_MAX) throw invalidArgument(`signal ${signal}`);
  if (all || (signal === SIGKILL && !hasPrivatePidNamespace)) {
    if (cgroup.killAll(signal) === 0) throw gone();
    return;
  }
  signalInit(sys, child.pidfd, signal);
  // A frozen process of v1 takes no signal before it runs again; on v2 SIGKILL reaches it.
  if (signal === SIGKILL && cgroup.mode !== 'unified' && cgroup.isFrozen()) cgroup.thaw(0);
}

function signalInit(sys: Syscalls, pidfd: number, signal: number): void {
  // A zombie takes every signal without an error; for the caller it is gone.
  const [ended = 0] = sys.poll([{ fd: pidfd, events: POLLIN }], 0);
  if (ended !== 0) throw gone();
  try {
    sys.pidfdSendSignal(pidfd, signal);
  } catch (err) {
    if (isErrno(err, 'ESRCH')) throw gone();
    throw wrap(err, 'signalling init');
  }
}

/** The words are runc's, which callers look for. */
function gone(): Error {
  return notFound('process already finished');
}
