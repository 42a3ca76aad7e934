/** The configuration that `spec` writes: a shell in a container that may do little. */
import { defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from '@gantry/oci';
import type { Linux, Mount, Spec } from '@gantry/oci';
import { supportedOciVersion } from '@gantry/oci';

const capabilities = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];

const cgroupMount: Mount = {
  destination: '/sys/fs/cgroup',
  type: 'cgroup',
  source: 'cgroup',
  options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
};

/** For a user without privileges: what belongs to the host's root is not asked for. */
export function starterSpec(rootless: { readonly uid: number; readonly gid: number } | undefined): Spec {
  return {
    ociVersion: supportedOciVersion,
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ['sh'],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=xterm'],
      cwd: '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: 'gantry',
    mounts: [
      ...defaultMounts
        .filter(({ destination }) => destination !== '/run')
        .map((mount) => (rootless === undefined ? mount : rootlessMount(mount))),
      cgroupMount,
    ],
    linux: rootless === undefined ? rootfulLinux : rootlessLinux(rootless),
  };
}

const paths = { maskedPaths: defaultMaskedPaths, readonlyPaths: defaultReadonlyPaths };

const rootfulLinux: Linux = {
  resources: { devices: [{ allow: false, access: 'rwm' }] },
  namespaces: [
    { type: 'pid' },
    { type: 'network' },
    { type: 'ipc' },
    { type: 'uts' },
    { type: 'mount' },
    { type: 'cgroup' },
  ],
  ...paths,
};

function rootlessLinux({ uid, gid }: { readonly uid: number; readonly gid: number }): Linux {
  return {
    uidMappings: [{ containerID: 0, hostID: uid, size: 1 }],
    gidMappings: [{ containerID: 0, hostID: gid, size: 1 }],
    namespaces: [
      { type: 'pid' },
      { type: 'ipc' },
      { type: 'uts' },
      { type: 'mount' },
      { type: 'cgroup' },
      { type: 'user' },
    ],
    ...paths,
  };
}

/** One user has one group; a sysfs of its own needs a network of its own. */
function rootlessMount(mount: Mount): Mount {
  if (mount.destination === '/sys') {
    return {
      destination: '/sys',
      type: 'none',
      source: '/sys',
      options: ['rbind', 'nosuid', 'noexec', 'nodev', 'ro'],
    };
  }
  return { ...mount, options: (mount.options ?? []).filter((option) => !/^[ug]id=/.test(option)) };
}
