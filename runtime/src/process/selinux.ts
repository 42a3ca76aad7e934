/** SELinux labels: of the program that is executed next, of the keys it makes, of the file systems mounted for it. */
import { existsSync, readFileSync } from 'node:fs';
import { failedPrecondition, wrap } from '@gantry/errors';
import { O_WRONLY, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';

let enabled: boolean | undefined;

/** Whether this kernel has SELinux, it is on, and its file system is mounted. Looked up once. */
export function selinuxEnabled(): boolean {
  enabled ??=
    existsSync('/sys/fs/selinux/enforce') && / - selinuxfs /.test(readFileSync('/proc/self/mountinfo', 'latin1'));
  return enabled;
}

/** Failed precondition for a label that nobody would enforce. */
export function checkLabel(label: string | undefined, field: string): void {
  if (label === undefined || label === '' || selinuxEnabled()) return;
  throw failedPrecondition(`${field}: selinux label is specified in config, but selinux is disabled or not supported`);
}

/** Asks for the label at the next execve. `proc` is a descriptor of the host's procfs. */
export function applyLabel(sys: LabelCalls, proc: number, label: string | undefined): void {
  if (label !== undefined) writeAttribute(sys, proc, 'exec', label);
}

/** Keys made from now on have the label; the program's are its own again after its execve. */
export function labelKeys(sys: LabelCalls, proc: number, label: string | undefined): void {
  if (label !== undefined) writeAttribute(sys, proc, 'keycreate', label);
}

type LabelCalls = Pick<FileCalls, 'openat2' | 'write' | 'close'>;

/** Nothing mounted over a part of procfs may take the write (CVE-2019-16884). */
function writeAttribute(sys: LabelCalls, proc: number, name: string, label: string): void {
  const resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  try {
    const fd = sys.openat2(proc, `thread-self/attr/${name}`, { flags: O_WRONLY, resolve });
    try {
      sys.write(fd, Buffer.from(label));
    } finally {
      sys.close(fd);
    }
  } catch (err) {
    throw wrap(err, `selinux label ${label}`);
  }
}

/** File systems whose files have labels of their own. */
const unlabelled: ReadonlySet<string> = new Set(['proc', 'sysfs', 'mqueue', 'cgroup', 'cgroup2']);

/** The option of a new file system that gives all its files the label of `linux.mountLabel`. */
export function labelOptions(type: string, label: string | undefined): string[] {
  return label === undefined || unlabelled.has(type) ? [] : [`context=${label}`];
}
