/** The configuration that `spec` writes: a shell in a container that may do little. */
import { existsSync } from 'node:fs';
import { defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from '@gantry/oci';
import type { Linux, Mount, Spec } from '@gantry/oci';
import { supportedOciVersion } from '@gantry/oci';

const capabilities = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];

/** Callers of runc know it without options. */
const procMount: Mount = { destination: '/proc', type: 'proc', source: 'proc' };

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
    hostname: 'runc',
    mounts: [
      ...defaultMounts
        .filter(({ destination }) => destination !== '/run')
        .map((mount) => (mount.destination === '/proc' ? procMount : mount))
        .map((mount) => (rootless === undefined ? mount : rootlessMount(mount))),
      cgroupMount,
    ],
    linux: withCgroupNamespace(rootless === undefined ? rootfulLinux : rootlessLinux(rootless)),
  };
}

const paths = { maskedPaths: defaultMaskedPaths, readonlyPaths: defaultReadonlyPaths };

const rootfulLinux: Linux = {
  resources: { devices: [{ allow: false, access: 'rwm' }] },
  namespaces: [{ type: 'pid' }, { type: 'network' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }],
  ...paths,
};

/** What a container sees of v2 is its own group; on v1 a namespace of them is not usual. */
function withCgroupNamespace(linux: Linux): Linux {
  const isUnified = existsSync('/sys/fs/cgroup/cgroup.controllers');
  return isUnified ? { ...linux, namespaces: [...(linux.namespaces ?? []), { type: 'cgroup' }] } : linux;
}

function rootlessLinux({ uid, gid }: { readonly uid: number; readonly gid: number }): Linux {
  return {
    uidMappings: [{ containerID: 0, hostID: uid, size: 1 }],
    gidMappings: [{ containerID: 0, hostID: gid, size: 1 }],
    namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }, { type: 'user' }],
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
