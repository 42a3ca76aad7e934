/**
 * Handing the listener of a seccomp filter to an agent, who answers the calls that the filter asks about
 * (seccomp_unotify(2), runtime specification config-linux.md "seccompState").
 *
 *   process                                      parent                                agent
 *   listener {fd}: its number will be …   ───►
 *   installs the filter                          takes the descriptor as soon
 *                                                as it is there (pidfd_getfd)
 *                                                connects, sends state and fd   ───►   takes over
 *   read                                  ◄───   proceed
 *   execve
 *
 * An ordinary user may not take anything out of a process that has changed its identity: there the process sends the listener
 * itself, by sendmsg(2) after the filter is in force, about which the filter must not ask.
 *
 * The process says the number beforehand, so that after the filter is in force it makes one call only, read(2); even
 * that may be asked about, because the agent has the listener without the process's doing.
 */
import { deadlineExceeded, invalidArgument, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { supportedOciVersion } from '@gantry/oci';
import type { ContainerProcessState, ContainerStatus, LinuxSeccomp, Spec } from '@gantry/oci';
import type { Child } from './child.ts';
import type { Deadline, ListenerMessage } from './handshake.ts';

/** Between two looks whether the filter is there; it is within a millisecond. */
const PAUSE_MS = 1;

export interface AgentSubject {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  readonly status: ContainerStatus;
  /** Of the container's init, for the state. */
  readonly initPid: number;
}

/** True when a filter of the configuration asks an agent. */
export function asksAgent(seccomp: LinuxSeccomp | undefined): seccomp is LinuxSeccomp {
  return (seccomp?.syscalls ?? []).some(({ action }) => action === 'SCMP_ACT_NOTIFY');
}

/** Invalid argument for a filter that asks nobody, and for one that asks whether it may be sent to who is asked. */
export function checkAgent(seccomp: LinuxSeccomp, sendsListener: boolean): void {
  if (seccomp.listenerPath === undefined || seccomp.listenerPath === '') {
    throw invalidArgument('linux.seccomp: seccomp listenerPath is needed for SCMP_ACT_NOTIFY');
  }
  if (!sendsListener) return;
  const asked = (seccomp.syscalls ?? []).filter(({ action }) => action === 'SCMP_ACT_NOTIFY');
  if (asked.some(({ names }) => names.includes('sendmsg'))) {
    throw invalidArgument('linux.seccomp: an ordinary user cannot use SCMP_ACT_NOTIFY for the sendmsg syscall');
  }
}

/** Takes the listener out of `child`, where it is or will be the descriptor that was told, and sends it to the agent. */
export function sendListener(
  sys: Syscalls,
  child: Child,
  { fd, sent }: ListenerMessage,
  subject: AgentSubject,
  deadline: Deadline,
): void {
  const listener = sent ?? takeDescriptor(sys, child, fd, deadline);
  try {
    const { listenerPath = '', listenerMetadata } = subject.spec.linux?.seccomp ?? {};
    const agent = sys.connectUnix(listenerPath);
    try {
      sys.sendMessage(agent, Buffer.from(JSON.stringify(stateOf(child.pid, subject, listenerMetadata))), [listener]);
    } finally {
      sys.close(agent);
    }
  } catch (err) {
    throw wrap(err, 'unable to send the seccomp listener to its agent');
  } finally {
    sys.close(listener);
  }
}

function takeDescriptor(sys: Syscalls, child: Child, fd: number, deadline: Deadline): number {
  for (;;) {
    try {
      return sys.pidfdGetfd(child.pidfd, fd);
    } catch (err) {
      if (!isErrno(err, 'EBADF')) throw wrap(err, 'unable to take the seccomp listener');
      if (deadline.remainingMs() === 0) throw deadlineExceeded('the seccomp filter was not installed in time');
      sys.poll([], PAUSE_MS);
    }
  }
}

function stateOf(pid: number, subject: AgentSubject, metadata: string | undefined): ContainerProcessState {
  const { id, bundle, spec, status, initPid } = subject;
  const { annotations = {} } = spec;
  return {
    ociVersion: supportedOciVersion,
    fds: ['seccompFd'],
    pid,
    ...(metadata === undefined ? {} : { metadata }),
    state: {
      ociVersion: supportedOciVersion,
      id,
      status,
      pid: initPid,
      bundle,
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    },
  };
}
