/** What a privileged container gets: everything the caller's own process could do, and the host's device nodes. */
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { capabilityNumbers, major, minor } from '@gantry/libc';
import type { LinuxDevice, LinuxResources, Mount, Spec } from '@gantry/oci';
import { allowAllDevices } from './defaults.ts';

/** What there is to give away on this host. */
export interface HostPrivileges {
  /** `CAP_…` names: more than these cannot be granted by anyone running where this process runs. */
  readonly capabilities: readonly string[];
  readonly devices: readonly LinuxDevice[];
}

/** Directories below /dev that belong to the container or are file systems of their own. */
const skippedDeviceDirectories = new Set(['pts', 'shm', 'fd', 'mqueue', 'console']);

/** Looks at the host: the effective capabilities of this process, and the nodes below /dev. */
export function hostPrivileges(): HostPrivileges {
  return { capabilities: effectiveCapabilities(readFileSync('/proc/self/status', 'utf8')), devices: hostDevices() };
}

/** The names behind the CapEff line of /proc/PID/status (proc(5)). */
export function effectiveCapabilities(status: string): string[] {
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return Object.entries(capabilityNumbers)
    .filter(([, number]) => ((mask >> BigInt(number)) & 1n) === 1n)
    .map(([name]) => name);
}

function hostDevices(directory = '/dev'): LinuxDevice[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) {
      return skippedDeviceDirectories.has(entry.name) ? [] : hostDevices(file);
    }
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    if (skippedDeviceDirectories.has(entry.name)) return [];
    return deviceAt(file);
  });
}

function deviceAt(file: string): LinuxDevice[] {
  const stat = lstatSync(file, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return [];
  return [
    {
      path: file,
      type: stat.isCharacterDevice() ? 'c' : 'b',
      major: Number(major(stat.rdev)),
      minor: Number(minor(stat.rdev)),
      fileMode: Number(stat.mode & 0o7777n),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
    },
  ];
}

/** The default mounts with a writable /sys. */
export function privilegedMounts(mounts: readonly Mount[]): Mount[] {
  return mounts.map((mount) =>
    mount.destination === '/sys' ? { ...mount, options: (mount.options ?? []).filter((o) => o !== 'ro') } : mount,
  );
}

/** The linux part that differs: all devices, nothing masked, nothing filtered. */
export function privilegedLinux(
  host: HostPrivileges,
  limits: LinuxResources,
): Pick<NonNullable<Spec['linux']>, 'resources' | 'devices' | 'maskedPaths' | 'readonlyPaths'> {
  return {
    resources: { devices: [allowAllDevices], ...limits },
    devices: [...host.devices],
    maskedPaths: [],
    readonlyPaths: [],
  };
}
