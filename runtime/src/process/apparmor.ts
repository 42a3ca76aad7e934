/** AppArmor confinement of the program that is executed next (apparmor(7)). */
import { readFileSync } from 'node:fs';
import { wrap } from '@gantry/errors';
import { isErrno, O_WRONLY, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import type { ProcessPlan } from './plan.ts';

let enabled: boolean | undefined;

/** Whether this kernel has AppArmor and it is on. */
export function appArmorEnabled(): boolean {
  if (enabled === undefined) {
    try {
      enabled = readFileSync('/sys/module/apparmor/parameters/enabled', 'latin1').startsWith('Y');
    } catch {
      enabled = false;
    }
  }
  return enabled;
}

/** Asks for the profile at the next execve. `proc` is a descriptor of the host's procfs. */
export function applyAppArmor(
  sys: Pick<FileCalls, 'openat2' | 'write' | 'close'>,
  proc: number,
  { apparmorProfile }: ProcessPlan,
): void {
  if (apparmorProfile === undefined) return;
  try {
    const fd = openAttribute(sys, proc);
    try {
      sys.write(fd, Buffer.from(`exec ${apparmorProfile}`));
    } finally {
      sys.close(fd);
    }
  } catch (err) {
    throw wrap(err, `apparmor profile ${apparmorProfile}`);
  }
}

/** Nothing mounted over a part of procfs may take the write (CVE-2019-19921). */
function openAttribute(sys: Pick<FileCalls, 'openat2'>, proc: number): number {
  const how = { flags: O_WRONLY, resolve: RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
  try {
    return sys.openat2(proc, 'thread-self/attr/apparmor/exec', how);
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err;
    return sys.openat2(proc, 'thread-self/attr/exec', how);
  }
}
