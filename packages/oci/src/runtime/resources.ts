/**
 * What a container may use: `linux.resources`, also the body of an update.
 *
 * 64-bit quantities are JSON numbers here: beyond 2^53 they are rounded, which only happens to "practically unlimited"
 * values. `toInt64` and `toUint64` (integers.ts) turn them into the kernel's range.
 */

export interface LinuxResources {
  readonly devices?: readonly LinuxDeviceRule[];
  readonly memory?: LinuxMemory;
  readonly cpu?: LinuxCpu;
  readonly pids?: LinuxPids;
  readonly blockIO?: LinuxBlockIo;
  readonly hugepageLimits?: readonly LinuxHugepageLimit[];
  readonly network?: LinuxNetwork;
  readonly rdma?: Readonly<Record<string, LinuxRdma>>;
  /** cgroup v2 file name → text, written as it is. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** One rule of the device list; the list is ordered and a rule of type `a` starts it anew. */
export interface LinuxDeviceRule {
  readonly allow: boolean;
  /** Absent means `a`: every device. */
  readonly type?: DeviceRuleType;
  /** Absent or -1: any. */
  readonly major?: number;
  readonly minor?: number;
  /** A subset of the letters `rwm`. */
  readonly access?: string;
}

export const deviceRuleTypes = ['a', 'b', 'c'] as const;

export type DeviceRuleType = (typeof deviceRuleTypes)[number];

/** Bytes; -1 is unlimited. */
export interface LinuxMemory {
  readonly limit?: number;
  readonly reservation?: number;
  /** Memory and swap together. */
  readonly swap?: number;
  /** Obsolete in the kernel; not applied. */
  readonly kernel?: number;
  /** Obsolete in the kernel; not applied. */
  readonly kernelTCP?: number;
  /** 0 … 100. */
  readonly swappiness?: number;
  readonly disableOOMKiller?: boolean;
  readonly useHierarchy?: boolean;
  /** Refuse a limit below what is in use. */
  readonly checkBeforeUpdate?: boolean;
}

/** Times are microseconds. */
export interface LinuxCpu {
  readonly shares?: number;
  readonly quota?: number;
  readonly burst?: number;
  readonly period?: number;
  readonly realtimeRuntime?: number;
  readonly realtimePeriod?: number;
  /** A list such as `0-3,7`. */
  readonly cpus?: string;
  readonly mems?: string;
  readonly idle?: number;
}

export interface LinuxPids {
  readonly limit?: number;
}

export interface LinuxBlockIo {
  readonly weight?: number;
  readonly leafWeight?: number;
  readonly weightDevice?: readonly LinuxWeightDevice[];
  readonly throttleReadBpsDevice?: readonly LinuxThrottleDevice[];
  readonly throttleWriteBpsDevice?: readonly LinuxThrottleDevice[];
  readonly throttleReadIOPSDevice?: readonly LinuxThrottleDevice[];
  readonly throttleWriteIOPSDevice?: readonly LinuxThrottleDevice[];
}

export interface LinuxWeightDevice {
  readonly major: number;
  readonly minor: number;
  readonly weight?: number;
  readonly leafWeight?: number;
}

export interface LinuxThrottleDevice {
  readonly major: number;
  readonly minor: number;
  /** Bytes or operations a second. */
  readonly rate: number;
}

export interface LinuxHugepageLimit {
  /** The kernel's spelling: `2MB`, `1GB`. */
  readonly pageSize: string;
  /** Bytes. */
  readonly limit: number;
}

export interface LinuxNetwork {
  readonly classID?: number;
  readonly priorities?: readonly LinuxInterfacePriority[];
}

export interface LinuxInterfacePriority {
  readonly name: string;
  readonly priority: number;
}

export interface LinuxRdma {
  readonly hcaHandles?: number;
  readonly hcaObjects?: number;
}
