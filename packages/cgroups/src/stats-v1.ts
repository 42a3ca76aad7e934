/** Reading a v1 group's usage. A controller that is not mounted has no figures; a missing file counts as 0. */
import { readFileSync } from 'node:fs';
import { childFiles, parseCounter, parseKeyed, readGroupFile, unlimited } from './group-file.ts';
import type {
  BlkioEntryV1,
  BlkioStatV1,
  CpuStatV1,
  HugetlbStatV1,
  MemoryEntryV1,
  MemoryOomControlV1,
  MemoryStatV1,
  MetricsV1,
  PidsStatV1,
} from './metrics-v1.ts';
import { readRdma } from './stats-rdma.ts';

/** cpuacct.stat counts in ticks of USER_HZ, which is 100 on every architecture that Node runs on. */
const nanosecondsPerTick = 10_000_000n;

/** Usage by controller name → directory. */
export function statsV1(directories: ReadonlyMap<string, string>): MetricsV1 {
  const at = <T>(name: string, read: (directory: string) => T): T | undefined => {
    const directory = directories.get(name);
    return directory === undefined ? undefined : read(directory);
  };
  return {
    hugetlb: at('hugetlb', hugetlb) ?? [],
    pids: at('pids', pids),
    cpu: cpu(directories.get('cpuacct'), directories.get('cpu')),
    memory: at('memory', memory),
    blkio: at('blkio', blkio),
    rdma: at('rdma', readRdma),
    network: [],
    cgroupStats: undefined,
    memoryOomControl: at('memory', oomControl),
  };
}

function pids(directory: string): PidsStatV1 {
  const limit = parseCounter(readGroupFile(directory, 'pids.max'));
  return { current: parseCounter(readGroupFile(directory, 'pids.current')), limit: limit === unlimited ? 0n : limit };
}

function cpu(accounting: string | undefined, scheduling: string | undefined): CpuStatV1 | undefined {
  if (accounting === undefined && scheduling === undefined) return undefined;
  const account = (file: string) => (accounting === undefined ? undefined : readGroupFile(accounting, file));
  const ticks = parseKeyed(account('cpuacct.stat'));
  const throttle = parseKeyed(scheduling === undefined ? undefined : readGroupFile(scheduling, 'cpu.stat'));
  return {
    usage: {
      total: parseCounter(account('cpuacct.usage')),
      kernel: (ticks.get('system') ?? 0n) * nanosecondsPerTick,
      user: (ticks.get('user') ?? 0n) * nanosecondsPerTick,
      perCpu: (account('cpuacct.usage_percpu') ?? '').trim().split(/\s+/).filter(Boolean).map(parseCounter),
    },
    throttling: {
      periods: throttle.get('nr_periods') ?? 0n,
      throttledPeriods: throttle.get('nr_throttled') ?? 0n,
      throttledTime: throttle.get('throttled_time') ?? 0n,
    },
  };
}

function memory(directory: string): MemoryStatV1 {
  const values = parseKeyed(readGroupFile(directory, 'memory.stat'));
  const value = (key: string): bigint => values.get(key) ?? 0n;
  return {
    cache: value('cache'),
    rss: value('rss'),
    rssHuge: value('rss_huge'),
    mappedFile: value('mapped_file'),
    dirty: value('dirty'),
    writeback: value('writeback'),
    pgPgIn: value('pgpgin'),
    pgPgOut: value('pgpgout'),
    pgFault: value('pgfault'),
    pgMajFault: value('pgmajfault'),
    inactiveAnon: value('inactive_anon'),
    activeAnon: value('active_anon'),
    inactiveFile: value('inactive_file'),
    activeFile: value('active_file'),
    unevictable: value('unevictable'),
    hierarchicalMemoryLimit: value('hierarchical_memory_limit'),
    hierarchicalSwapLimit: value('hierarchical_memsw_limit'),
    totalCache: value('total_cache'),
    totalRss: value('total_rss'),
    totalRssHuge: value('total_rss_huge'),
    totalMappedFile: value('total_mapped_file'),
    totalDirty: value('total_dirty'),
    totalWriteback: value('total_writeback'),
    totalPgPgIn: value('total_pgpgin'),
    totalPgPgOut: value('total_pgpgout'),
    totalPgFault: value('total_pgfault'),
    totalPgMajFault: value('total_pgmajfault'),
    totalInactiveAnon: value('total_inactive_anon'),
    totalActiveAnon: value('total_active_anon'),
    totalInactiveFile: value('total_inactive_file'),
    totalActiveFile: value('total_active_file'),
    totalUnevictable: value('total_unevictable'),
    usage: memoryEntry(directory, 'memory'),
    swap: memoryEntry(directory, 'memory.memsw'),
    kernel: memoryEntry(directory, 'memory.kmem'),
    kernelTcp: memoryEntry(directory, 'memory.kmem.tcp'),
  };
}

function memoryEntry(directory: string, prefix: string): MemoryEntryV1 | undefined {
  const usage = readGroupFile(directory, `${prefix}.usage_in_bytes`);
  if (usage === undefined) return undefined;
  return {
    limit: parseCounter(readGroupFile(directory, `${prefix}.limit_in_bytes`)),
    usage: parseCounter(usage),
    max: parseCounter(readGroupFile(directory, `${prefix}.max_usage_in_bytes`)),
    failcnt: parseCounter(readGroupFile(directory, `${prefix}.failcnt`)),
  };
}

function oomControl(directory: string): MemoryOomControlV1 {
  const values = parseKeyed(readGroupFile(directory, 'memory.oom_control'));
  return {
    oomKillDisable: values.get('oom_kill_disable') ?? 0n,
    underOom: values.get('under_oom') ?? 0n,
    oomKill: values.get('oom_kill') ?? 0n,
  };
}

function hugetlb(directory: string): HugetlbStatV1[] {
  return childFiles(directory).flatMap((file) => {
    const pagesize = /^hugetlb\.([^.]+)\.usage_in_bytes$/.exec(file)?.[1];
    if (pagesize === undefined) return [];
    const value = (name: string) => parseCounter(readGroupFile(directory, `hugetlb.${pagesize}.${name}`));
    return { usage: value('usage_in_bytes'), max: value('max_usage_in_bytes'), failcnt: value('failcnt'), pagesize };
  });
}

function blkio(directory: string): BlkioStatV1 {
  const names = deviceNames();
  const read = (file: string): BlkioEntryV1[] => parseBlkio(readGroupFile(directory, file) ?? '', names);
  const serviced = readGroupFile(directory, 'blkio.io_serviced_recursive');
  if (serviced === undefined) {
    return {
      ...noBlkio,
      ioServiceBytesRecursive: read('blkio.throttle.io_service_bytes'),
      ioServicedRecursive: read('blkio.throttle.io_serviced'),
    };
  }
  return {
    ioServiceBytesRecursive: read('blkio.io_service_bytes_recursive'),
    ioServicedRecursive: parseBlkio(serviced, names),
    ioQueuedRecursive: read('blkio.io_queued_recursive'),
    ioServiceTimeRecursive: read('blkio.io_service_time_recursive'),
    ioWaitTimeRecursive: read('blkio.io_wait_time_recursive'),
    ioMergedRecursive: read('blkio.io_merged_recursive'),
    ioTimeRecursive: read('blkio.time_recursive'),
    sectorsRecursive: read('blkio.sectors_recursive'),
  };
}

const noBlkio: BlkioStatV1 = {
  ioServiceBytesRecursive: [],
  ioServicedRecursive: [],
  ioQueuedRecursive: [],
  ioServiceTimeRecursive: [],
  ioWaitTimeRecursive: [],
  ioMergedRecursive: [],
  ioTimeRecursive: [],
  sectorsRecursive: [],
};

/** Lines `major:minor Operation value` or `major:minor value`; the closing `Total value` is of no device. */
export function parseBlkio(text: string, names: ReadonlyMap<string, string>): BlkioEntryV1[] {
  const entries: BlkioEntryV1[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\d+):(\d+)(?: (\S+))? (\d+)$/.exec(line);
    if (match === null) continue;
    const [, major = '0', minor = '0', op = '', value = '0'] = match;
    const device = names.get(`${major}:${minor}`) ?? '';
    entries.push({ op, device, major: BigInt(major), minor: BigInt(minor), value: BigInt(value) });
  }
  return entries;
}

/** `major:minor` → `/dev/name` from /proc/partitions (`major minor blocks name`). */
function deviceNames(): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const line of readFileSync('/proc/partitions', 'utf8').split('\n')) {
    const match = /^\s*(\d+)\s+(\d+)\s+\d+\s+(\S+)$/.exec(line);
    if (match !== null) names.set(`${match[1]}:${match[2]}`, `/dev/${match[3]}`);
  }
  return names;
}
