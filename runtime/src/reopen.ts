/** A container that another process has created, from what is remembered of it. */
import type { Cgroup } from '@gantry/cgroups';
import { failedPrecondition } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import { Child } from './child.ts';
import type { Container } from './container.ts';
import type { ParentChannel } from './handshake.ts';
import { LinuxContainer } from './linux-container.ts';
import { containerFlags, hasNew } from './namespaces/plan.ts';

export interface Remembered {
  readonly id: string;
  readonly bundle: string;
  /** Where state.json is. */
  readonly stateDir: string;
  readonly spec: Spec;
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, decimal. */
  readonly startTime: string;
  /** To an init that waits to be started, else a closed one; the container owns it from here. */
  readonly channel: ParentChannel;
  readonly cgroup: Cgroup;
  readonly noNewKeyring: boolean;
}

/** How long `start` waits for the program to be executed. */
const START_TIMEOUT_MS = 60_000;

/**
 * A handle on it. Init is not a child of the caller, who cannot reap it; `destroy` is for `deleteLeftovers` to do.
 * Failed precondition when init is gone, or the pid is another process's by now.
 */
export function reopenContainer(sys: Syscalls, remembered: Remembered): Container {
  const { id, bundle, stateDir, spec, channel, cgroup, noNewKeyring } = remembered;
  const child = childOf(sys, remembered);
  if (child === undefined || String(child.startTime) !== remembered.startTime) {
    channel.close();
    if (child !== undefined) sys.close(child.pidfd);
    throw failedPrecondition('container not running');
  }
  return new LinuxContainer(sys, {
    id,
    bundle,
    stateDir,
    spec,
    child,
    channel,
    cgroup,
    console: undefined,
    hasPrivatePidNamespace: hasNew(spec, 'pid'),
    namespaceFlags: containerFlags(spec),
    noNewKeyring,
    hostRoot: undefined,
    resctrl: [],
    createTimeoutMs: START_TIMEOUT_MS,
  });
}

function childOf(sys: Syscalls, { pid }: Remembered): Child | undefined {
  try {
    return new Child(sys, pid);
  } catch (err) {
    if (isErrno(err, 'ESRCH', 'EINVAL')) return undefined;
    throw err;
  }
}
