/** Removing what a container has: after its regular end, and after the death of the process that kept it. */
import { cgroupFromPaths } from '@gantry/cgroups';
import type { Cgroup } from '@gantry/cgroups';
import { deadlineExceeded } from '@gantry/errors';
import { isErrno, POLLIN, processStartTime, SIGKILL } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { hostCgroups } from './host-cgroups.ts';
import type { ContainerParts } from './container-parts.ts';
import { poststopOf, runPoststop } from './poststop.ts';
import { removeResctrl } from './resctrl.ts';
import { detachFromHost } from './rootfs/on-host.ts';
import { readState, removeState } from './state.ts';
import type { RuntimeState } from './state.ts';

const REMOVE_TIMEOUT_MS = 5000;
const KILL_TIMEOUT_MS = 5000;

/** Ends what is left in the control group and removes it. After a failure it can be repeated. */
export function destroyContainer(sys: Syscalls, parts: ContainerParts): void {
  const { stateDir, cgroup, channel, child, hostRoot, resctrl } = parts;
  channel.close();
  emptyCgroup(cgroup);
  removeResctrl(resctrl);
  if (hostRoot !== undefined) detachFromHost(sys, hostRoot);
  const atTheEnd = poststopOf(parts);
  if (atTheEnd !== undefined) runPoststop(sys, atTheEnd);
  removeState(sys, stateDir);
  sys.close(child.pidfd);
}

/**
 * Clean-up for a container whose shim is dead, from `state.json` in its bundle: ends init (by pid and start time) and
 * everything else in its control group, removes the group and the record. Idempotent; an unknown bundle is nothing to
 * do. Deadline exceeded when something does not die: the record stays then, for the next try. Returns what went wrong with
 * poststop hooks, which hinders nothing.
 */
export function deleteLeftovers(sys: Syscalls, bundle: string): string[] {
  const state = readState(bundle);
  if (state === undefined) return [];
  killInit(sys, state);
  emptyCgroup(cgroupFromPaths(hostCgroups(), state.cgroupPaths));
  removeResctrl(state.resctrl ?? []);
  if (state.hostRoot !== undefined) detachFromHost(sys, state.hostRoot);
  const warnings = state.poststop === undefined ? [] : runPoststop(sys, { poststop: state.poststop });
  removeState(sys, bundle);
  return warnings;
}

function emptyCgroup(cgroup: Cgroup): void {
  // A group that is gone has no processes.
  if (cgroup.pids().length > 0) cgroup.killAll(SIGKILL);
  cgroup.remove(REMOVE_TIMEOUT_MS);
}

function killInit(sys: Syscalls, { pid, startTime }: RuntimeState): void {
  if (pid === 0 || String(processStartTime(pid)) !== startTime) return;
  let pidfd: number;
  try {
    pidfd = sys.pidfdOpen(pid);
  } catch (err) {
    if (isErrno(err, 'ESRCH')) return;
    throw err;
  }
  try {
    // Asked again: the first answer may have been about a process that ended before the descriptor was opened.
    if (String(processStartTime(pid)) !== startTime) return;
    sys.pidfdSendSignal(pidfd, SIGKILL);
    const [ended = 0] = sys.poll([{ fd: pidfd, events: POLLIN }], KILL_TIMEOUT_MS);
    if (ended === 0) throw deadlineExceeded(`process ${pid} does not end`);
  } catch (err) {
    if (!isErrno(err, 'ESRCH')) throw err;
  } finally {
    sys.close(pidfd);
  }
}
