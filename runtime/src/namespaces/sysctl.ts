/** Kernel parameters of the container's own namespaces. */
import { invalidArgument, wrap } from '@gantry/errors';
import { O_WRONLY, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import type { NamespaceType, Spec } from '@gantry/oci';
import { namespaceOf } from './plan.ts';

const ipcKeys: ReadonlySet<string> = new Set([
  'kernel/msgmax',
  'kernel/msgmnb',
  'kernel/msgmni',
  'kernel/sem',
  'kernel/shmall',
  'kernel/shmmax',
  'kernel/shmmni',
  'kernel/shm_rmid_forced',
]);

/** A key as a path below /proc/sys: `net.ipv4.ip_forward`; with a slash as first separator dots are part of names. */
export function sysctlPath(key: string): string {
  const first = /[./]/.exec(key)?.[0];
  if (first !== '.') return key;
  return key.replaceAll(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
}

/** The namespace a parameter belongs to; undefined for those of the whole host. */
function ownerOf(path: string): NamespaceType | undefined {
  if (ipcKeys.has(path) || path.startsWith('fs/mqueue/')) return 'ipc';
  if (path.startsWith('net/')) return 'network';
  if (path === 'kernel/domainname') return 'uts';
  return path.startsWith('user/') ? 'user' : undefined;
}

/** Refuses parameters that would change the host. */
export function checkSysctls(spec: Spec): void {
  for (const key of Object.keys(spec.linux?.sysctl ?? {})) {
    const path = sysctlPath(key);
    if (
      !/^[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.:@-]+)+$/.test(path) ||
      path.split('/').some((part) => /^\.\.?$/.test(part))
    ) {
      throw invalidArgument(`linux.sysctl: invalid key ${JSON.stringify(key)}`);
    }
    if (path === 'kernel/hostname') {
      throw invalidArgument(`sysctl "${key}" conflicts with the hostname field`);
    }
    const owner = ownerOf(path);
    if (owner === undefined || namespaceOf(spec, owner) === undefined) {
      throw invalidArgument(`sysctl "${key}" is not in a separate kernel namespace`);
    }
  }
}

/** Writes them; `proc` is a descriptor of the host's procfs, which shows each process its own namespaces' values. */
export function writeSysctls(
  sys: Pick<FileCalls, 'openat2' | 'write' | 'close'>,
  proc: number,
  values: Readonly<Record<string, string>>,
): void {
  // Neither a symlink nor anything mounted over a part of /proc/sys may lead the write elsewhere (CVE-2025-52881).
  const resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  for (const [key, value] of Object.entries(values)) {
    try {
      const fd = sys.openat2(proc, `sys/${sysctlPath(key)}`, { flags: O_WRONLY, resolve });
      try {
        sys.write(fd, Buffer.from(value));
      } finally {
        sys.close(fd);
      }
    } catch (err) {
      throw wrap(err, `writing sysctl ${key}`);
    }
  }
}
