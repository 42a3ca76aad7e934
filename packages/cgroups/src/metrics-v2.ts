/**
 * Usage figures of a v2 control group. The shape is that of the message `io.containerd.cgroups.v2.Metrics` in this
 * house's TypeScript form (camelCase, bigint for 64 bits), so that the shim can pack it as it is.
 * A limit of `max` is 2^64 - 1. What the kernel does not report is 0.
 */

export interface MetricsV2 {
  readonly pids: PidsStatV2 | undefined;
  readonly cpu: CpuStatV2 | undefined;
  readonly memory: MemoryStatV2 | undefined;
  readonly rdma: RdmaStatV2 | undefined;
  readonly io: IoStatV2 | undefined;
  readonly hugetlb: readonly HugetlbStatV2[];
  readonly memoryEvents: MemoryEventsV2 | undefined;
  readonly network: readonly never[];
}

export interface PidsStatV2 {
  readonly current: bigint;
  readonly limit: bigint;
}

/** Microseconds. */
export interface CpuStatV2 {
  readonly usageUsec: bigint;
  readonly userUsec: bigint;
  readonly systemUsec: bigint;
  readonly nrPeriods: bigint;
  readonly nrThrottled: bigint;
  readonly throttledUsec: bigint;
  readonly psi: PsiStatsV2 | undefined;
  readonly nrBursts: bigint;
  readonly burstUsec: bigint;
}

/** Share of time (percent) in which tasks waited for the resource, and the total in microseconds. */
export interface PsiDataV2 {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly total: bigint;
}

export interface PsiStatsV2 {
  readonly some: PsiDataV2 | undefined;
  readonly full: PsiDataV2 | undefined;
}

/** Bytes or events, under the kernel's names of `memory.stat`. */
export interface MemoryStatV2 {
  readonly anon: bigint;
  readonly file: bigint;
  readonly kernelStack: bigint;
  readonly slab: bigint;
  readonly sock: bigint;
  readonly shmem: bigint;
  readonly fileMapped: bigint;
  readonly fileDirty: bigint;
  readonly fileWriteback: bigint;
  readonly anonThp: bigint;
  readonly inactiveAnon: bigint;
  readonly activeAnon: bigint;
  readonly inactiveFile: bigint;
  readonly activeFile: bigint;
  readonly unevictable: bigint;
  readonly slabReclaimable: bigint;
  readonly slabUnreclaimable: bigint;
  readonly pgfault: bigint;
  readonly pgmajfault: bigint;
  readonly workingsetRefault: bigint;
  readonly workingsetActivate: bigint;
  readonly workingsetNodereclaim: bigint;
  readonly pgrefill: bigint;
  readonly pgscan: bigint;
  readonly pgsteal: bigint;
  readonly pgactivate: bigint;
  readonly pgdeactivate: bigint;
  readonly pglazyfree: bigint;
  readonly pglazyfreed: bigint;
  readonly thpFaultAlloc: bigint;
  readonly thpCollapseAlloc: bigint;
  readonly usage: bigint;
  readonly usageLimit: bigint;
  readonly swapUsage: bigint;
  readonly swapLimit: bigint;
  readonly maxUsage: bigint;
  readonly swapMaxUsage: bigint;
  readonly psi: PsiStatsV2 | undefined;
  readonly workingsetRefaultAnon: bigint;
  readonly workingsetRefaultFile: bigint;
  readonly workingsetActivateAnon: bigint;
  readonly workingsetActivateFile: bigint;
}

export interface MemoryEventsV2 {
  readonly low: bigint;
  readonly high: bigint;
  readonly max: bigint;
  readonly oom: bigint;
  readonly oomKill: bigint;
  readonly oomGroupKill: bigint;
}

export interface IoStatV2 {
  readonly usage: readonly IoEntryV2[];
  readonly psi: PsiStatsV2 | undefined;
}

export interface IoEntryV2 {
  readonly major: bigint;
  readonly minor: bigint;
  readonly rbytes: bigint;
  readonly wbytes: bigint;
  readonly rios: bigint;
  readonly wios: bigint;
}

export interface HugetlbStatV2 {
  readonly current: bigint;
  readonly max: bigint;
  readonly pagesize: string;
  readonly failcnt: bigint;
}

export interface RdmaStatV2 {
  readonly current: readonly RdmaEntryV2[];
  readonly limit: readonly RdmaEntryV2[];
}

export interface RdmaEntryV2 {
  readonly device: string;
  readonly hcaHandles: number;
  readonly hcaObjects: number;
}
