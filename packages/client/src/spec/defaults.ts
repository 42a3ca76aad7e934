/** What every Linux container starts from, beside the lists of `@gantry/oci`; containerd's own values. Data only. */
import type { LinuxDeviceRule, Mount } from '@gantry/oci';

export const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Open files; a container that needs more asks for it. */
export const defaultNofile = 1024;

/** Host files a container in the host's network namespace needs to resolve names. */
export const hostNetworkMounts: readonly Mount[] = ['/etc/hosts', '/etc/resolv.conf'].map((file) => ({
  destination: file,
  type: 'bind',
  source: file,
  options: ['rbind', 'ro'],
}));

/** The host's own, for a container in its network namespace that may not mount a new one. */
export const hostSysMount: Mount = {
  destination: '/sys',
  type: 'bind',
  source: '/sys',
  options: ['rbind', 'rro', 'nosuid', 'noexec', 'nodev'],
};

export const denyAllDevices: LinuxDeviceRule = { allow: false, access: 'rwm' };
export const allowAllDevices: LinuxDeviceRule = { allow: true, access: 'rwm' };
