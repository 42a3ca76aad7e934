/** The `linux` section of a runtime configuration, without resources and seccomp, which have files of their own. */
import type { LinuxResources } from './resources.ts';
import type { LinuxSeccomp } from './seccomp.ts';

export interface Linux {
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly resources?: LinuxResources;
  readonly cgroupsPath?: string;
  readonly namespaces?: readonly LinuxNamespace[];
  readonly devices?: readonly LinuxDevice[];
  /** Host interface name → how it is called inside. */
  readonly netDevices?: Readonly<Record<string, LinuxNetDevice>>;
  readonly seccomp?: LinuxSeccomp;
  readonly rootfsPropagation?: RootfsPropagation;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly mountLabel?: string;
  readonly intelRdt?: LinuxIntelRdt;
  readonly memoryPolicy?: LinuxMemoryPolicy;
  readonly personality?: LinuxPersonality;
  readonly timeOffsets?: LinuxTimeOffsets;
}

/** A range of ids: `size` ids from `containerID` on are `hostID` … outside. */
export interface IdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export const namespaceTypes = ['pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup', 'time'] as const;

export type NamespaceType = (typeof namespaceTypes)[number];

/** A namespace of the container; each type appears at most once. A type that is absent is inherited. */
export interface LinuxNamespace {
  readonly type: NamespaceType;
  /** Absolute path of the namespace to join. Absent: a new one. */
  readonly path?: string;
}

export const deviceTypes = ['c', 'b', 'u', 'p'] as const;

export type DeviceType = (typeof deviceTypes)[number];

/** A device node (or, type `p`, a fifo) to make in the container. */
export interface LinuxDevice {
  /** Absolute, in the container. */
  readonly path: string;
  readonly type: DeviceType;
  /** 0 for a fifo. */
  readonly major: number;
  readonly minor: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export interface LinuxNetDevice {
  /** The name inside; absent keeps the host's. */
  readonly name?: string;
}

export const rootfsPropagations = [
  'shared',
  'rshared',
  'slave',
  'rslave',
  'private',
  'rprivate',
  'unbindable',
  'runbindable',
] as const;

export type RootfsPropagation = (typeof rootfsPropagations)[number];

export interface LinuxIntelRdt {
  readonly closID?: string;
  readonly schemata?: readonly string[];
  readonly l3CacheSchema?: string;
  readonly memBwSchema?: string;
  readonly enableMonitoring?: boolean;
}

/** In the order of their numbers in set_mempolicy(2): the first is 0. */
export const memoryPolicyModes = [
  'MPOL_DEFAULT',
  'MPOL_PREFERRED',
  'MPOL_BIND',
  'MPOL_INTERLEAVE',
  'MPOL_LOCAL',
  'MPOL_PREFERRED_MANY',
  'MPOL_WEIGHTED_INTERLEAVE',
] as const;

export type MemoryPolicyMode = (typeof memoryPolicyModes)[number];

export const memoryPolicyFlags = ['MPOL_F_STATIC_NODES', 'MPOL_F_RELATIVE_NODES', 'MPOL_F_NUMA_BALANCING'] as const;

export type MemoryPolicyFlag = (typeof memoryPolicyFlags)[number];

export interface LinuxMemoryPolicy {
  readonly mode: MemoryPolicyMode;
  /** A node list such as `0-1`. */
  readonly nodes?: string;
  readonly flags?: readonly MemoryPolicyFlag[];
}

export const personalityDomains = ['LINUX', 'LINUX32'] as const;

export type PersonalityDomain = (typeof personalityDomains)[number];

export interface LinuxPersonality {
  readonly domain: PersonalityDomain;
  /** None is defined by the specification; kept so that a caller can warn. */
  readonly flags?: readonly string[];
}

/** The clocks of a new time namespace. */
export interface LinuxTimeOffsets {
  readonly monotonic?: LinuxTimeOffset;
  readonly boottime?: LinuxTimeOffset;
}

export interface LinuxTimeOffset {
  readonly secs?: number;
  readonly nanosecs?: number;
}
