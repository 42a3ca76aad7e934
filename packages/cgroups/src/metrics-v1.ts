/**
 * Usage figures of a v1 control group. The shape is that of the message `io.containerd.cgroups.v1.Metrics` in this
 * house's TypeScript form (camelCase, bigint for 64 bits), so that the shim can pack it as it is.
 */

export interface MetricsV1 {
  readonly hugetlb: readonly HugetlbStatV1[];
  readonly pids: PidsStatV1 | undefined;
  readonly cpu: CpuStatV1 | undefined;
  readonly memory: MemoryStatV1 | undefined;
  readonly blkio: BlkioStatV1 | undefined;
  readonly rdma: RdmaStatV1 | undefined;
  readonly network: readonly never[];
  readonly cgroupStats: undefined;
  readonly memoryOomControl: MemoryOomControlV1 | undefined;
}

export interface HugetlbStatV1 {
  readonly usage: bigint;
  readonly max: bigint;
  readonly failcnt: bigint;
  readonly pagesize: string;
}

/** `limit` is 0 when there is none, as containerd's own figures have it on v1. */
export interface PidsStatV1 {
  readonly current: bigint;
  readonly limit: bigint;
}

/** Nanoseconds. */
export interface CpuStatV1 {
  readonly usage: {
    readonly total: bigint;
    readonly kernel: bigint;
    readonly user: bigint;
    readonly perCpu: readonly bigint[];
  };
  readonly throttling: {
    readonly periods: bigint;
    readonly throttledPeriods: bigint;
    readonly throttledTime: bigint;
  };
}

/** Bytes, except the `…PgPg…` and `…Fault` counters. */
export interface MemoryStatV1 {
  readonly cache: bigint;
  readonly rss: bigint;
  readonly rssHuge: bigint;
  readonly mappedFile: bigint;
  readonly dirty: bigint;
  readonly writeback: bigint;
  readonly pgPgIn: bigint;
  readonly pgPgOut: bigint;
  readonly pgFault: bigint;
  readonly pgMajFault: bigint;
  readonly inactiveAnon: bigint;
  readonly activeAnon: bigint;
  readonly inactiveFile: bigint;
  readonly activeFile: bigint;
  readonly unevictable: bigint;
  readonly hierarchicalMemoryLimit: bigint;
  readonly hierarchicalSwapLimit: bigint;
  readonly totalCache: bigint;
  readonly totalRss: bigint;
  readonly totalRssHuge: bigint;
  readonly totalMappedFile: bigint;
  readonly totalDirty: bigint;
  readonly totalWriteback: bigint;
  readonly totalPgPgIn: bigint;
  readonly totalPgPgOut: bigint;
  readonly totalPgFault: bigint;
  readonly totalPgMajFault: bigint;
  readonly totalInactiveAnon: bigint;
  readonly totalActiveAnon: bigint;
  readonly totalInactiveFile: bigint;
  readonly totalActiveFile: bigint;
  readonly totalUnevictable: bigint;
  readonly usage: MemoryEntryV1 | undefined;
  readonly swap: MemoryEntryV1 | undefined;
  readonly kernel: MemoryEntryV1 | undefined;
  readonly kernelTcp: MemoryEntryV1 | undefined;
}

export interface MemoryEntryV1 {
  readonly limit: bigint;
  readonly usage: bigint;
  readonly max: bigint;
  readonly failcnt: bigint;
}

export interface MemoryOomControlV1 {
  readonly oomKillDisable: bigint;
  readonly underOom: bigint;
  readonly oomKill: bigint;
}

export interface BlkioStatV1 {
  readonly ioServiceBytesRecursive: readonly BlkioEntryV1[];
  readonly ioServicedRecursive: readonly BlkioEntryV1[];
  readonly ioQueuedRecursive: readonly BlkioEntryV1[];
  readonly ioServiceTimeRecursive: readonly BlkioEntryV1[];
  readonly ioWaitTimeRecursive: readonly BlkioEntryV1[];
  readonly ioMergedRecursive: readonly BlkioEntryV1[];
  readonly ioTimeRecursive: readonly BlkioEntryV1[];
  readonly sectorsRecursive: readonly BlkioEntryV1[];
}

export interface BlkioEntryV1 {
  readonly op: string;
  /** `/dev/…`, empty when the kernel no longer lists the device. */
  readonly device: string;
  readonly major: bigint;
  readonly minor: bigint;
  readonly value: bigint;
}

export interface RdmaStatV1 {
  readonly current: readonly RdmaEntryV1[];
  readonly limit: readonly RdmaEntryV1[];
}

export interface RdmaEntryV1 {
  readonly device: string;
  readonly hcaHandles: number;
  readonly hcaObjects: number;
}
