/** `features`: what this runtime can do, by the specification's features document. */
import { existsSync } from 'node:fs';
import { capabilityNumbers } from '@gantry/libc';
import {
  hookKinds,
  memoryPolicyFlags,
  memoryPolicyModes,
  namespaceTypes,
  seccompActions,
  seccompArchitectures,
  seccompFlags,
  seccompOperators,
  supportedOciVersion,
} from '@gantry/oci';
import type { Command } from '../command.ts';
import { print } from '../report.ts';
import { mountOptionWords } from '../../rootfs/mount-option-words.ts';

export const features: Command = {
  name: 'features',
  usage: 'features',
  summary: 'print what this runtime can do',
  flags: [],
  words: [0, 0],
  run() {
    print(`${JSON.stringify(document(), undefined, 4)}\n`);
    return 0;
  },
};

function document(): object {
  return {
    ociVersionMin: '1.0.0',
    ociVersionMax: supportedOciVersion,
    hooks: hookKinds,
    mountOptions: mountOptionWords,
    linux: {
      namespaces: namespaceTypes.filter((type) => existsSync(`/proc/self/ns/${fileOf(type)}`)).toSorted(),
      capabilities: Object.entries(capabilityNumbers)
        .toSorted(([, one], [, other]) => one - other)
        .map(([name]) => name),
      cgroup: { v1: true, v2: true, systemd: true, systemdUser: true, rdma: true },
      seccomp: {
        enabled: true,
        actions: seccompActions,
        operators: seccompOperators,
        archs: seccompArchitectures,
        knownFlags: seccompFlags,
        supportedFlags: seccompFlags,
      },
      apparmor: { enabled: true },
      selinux: { enabled: true },
      intelRdt: { enabled: true, schemata: true, monitoring: true },
      memoryPolicy: { modes: memoryPolicyModes, flags: memoryPolicyFlags },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: true },
    },
    annotations: {
      'org.opencontainers.runc.checkpoint.enabled': 'true',
    },
    potentiallyUnsafeConfigAnnotations: ['bundle', 'org.systemd.property.', 'org.criu.config'],
  };
}

function fileOf(type: string): string {
  if (type === 'network') return 'net';
  return type === 'mount' ? 'mnt' : type;
}
