/** The runtime spec that Debian's `ctr run` makes for such a container, with the bench's cgroup. */
import { defaultCapabilities, defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from '@gantry/oci';
import type { LinuxDeviceRule, Process, Spec } from '@gantry/oci';
import { existsSync } from 'node:fs';

const allowed = (major: number, minor?: number): LinuxDeviceRule => ({
  allow: true,
  type: 'c',
  major,
  ...(minor === undefined ? {} : { minor }),
  access: 'rwm',
});

/** null, random, full, tty, zero, urandom, console, ptys, ptmx. */
const deviceRules: readonly LinuxDeviceRule[] = [
  { allow: false, access: 'rwm' },
  ...([[1, 3], [1, 8], [1, 7], [5, 0], [1, 5], [1, 9], [5, 1], [136], [5, 2]] as const).map(([major, minor]) =>
    allowed(major, minor),
  ),
];

/** The process of a container, and of an exec in it. */
export function processOf(args: readonly string[]): Process {
  const capabilities = [...defaultCapabilities];
  return {
    user: { uid: 0, gid: 0, additionalGids: [0] },
    args: [...args],
    env: ['PATH=/bin'],
    cwd: '/',
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
    noNewPrivileges: true,
  };
}

export function specOf(args: readonly string[], cgroupsPath: string): Spec {
  const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
  return {
    ociVersion: '1.0.2',
    process: processOf(args),
    root: { path: 'rootfs' },
    mounts: [...defaultMounts],
    linux: {
      resources: { devices: [...deviceRules] },
      cgroupsPath,
      namespaces: [
        { type: 'pid' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'mount' },
        { type: 'network' },
        ...(unified ? [{ type: 'cgroup' as const }] : []),
      ],
      maskedPaths: [...defaultMaskedPaths],
      readonlyPaths: [...defaultReadonlyPaths],
    },
  };
}
