/** Reading a v2 group's usage. A missing file counts as 0. */
import { childFiles, parseCounter, parseKeyed, readGroupFile } from './group-file.ts';
import type {
  CpuStatV2,
  HugetlbStatV2,
  IoEntryV2,
  MemoryEventsV2,
  MemoryStatV2,
  MetricsV2,
  PsiDataV2,
  PsiStatsV2,
} from './metrics-v2.ts';
import { readRdma } from './stats-rdma.ts';

/** Usage of the group in this directory. */
export function statsV2(directory: string): MetricsV2 {
  return {
    pids: {
      current: parseCounter(readGroupFile(directory, 'pids.current')),
      limit: parseCounter(readGroupFile(directory, 'pids.max')),
    },
    cpu: cpu(directory),
    memory: memory(directory),
    rdma: readRdma(directory),
    io: { usage: parseIo(readGroupFile(directory, 'io.stat') ?? ''), psi: psi(directory, 'io.pressure') },
    hugetlb: hugetlb(directory),
    memoryEvents: memoryEvents(directory),
    network: [],
  };
}

function cpu(directory: string): CpuStatV2 {
  const values = parseKeyed(readGroupFile(directory, 'cpu.stat'));
  const value = (key: string): bigint => values.get(key) ?? 0n;
  return {
    usageUsec: value('usage_usec'),
    userUsec: value('user_usec'),
    systemUsec: value('system_usec'),
    nrPeriods: value('nr_periods'),
    nrThrottled: value('nr_throttled'),
    throttledUsec: value('throttled_usec'),
    psi: psi(directory, 'cpu.pressure'),
    nrBursts: value('nr_bursts'),
    burstUsec: value('burst_usec'),
  };
}

function memory(directory: string): MemoryStatV2 {
  const values = parseKeyed(readGroupFile(directory, 'memory.stat'));
  const value = (key: string): bigint => values.get(key) ?? 0n;
  const file = (name: string): bigint => parseCounter(readGroupFile(directory, name));
  const refaultAnon = value('workingset_refault_anon');
  const refaultFile = value('workingset_refault_file');
  const activateAnon = value('workingset_activate_anon');
  const activateFile = value('workingset_activate_file');
  return {
    anon: value('anon'),
    file: value('file'),
    kernelStack: value('kernel_stack'),
    slab: value('slab'),
    sock: value('sock'),
    shmem: value('shmem'),
    fileMapped: value('file_mapped'),
    fileDirty: value('file_dirty'),
    fileWriteback: value('file_writeback'),
    anonThp: value('anon_thp'),
    inactiveAnon: value('inactive_anon'),
    activeAnon: value('active_anon'),
    inactiveFile: value('inactive_file'),
    activeFile: value('active_file'),
    unevictable: value('unevictable'),
    slabReclaimable: value('slab_reclaimable'),
    slabUnreclaimable: value('slab_unreclaimable'),
    pgfault: value('pgfault'),
    pgmajfault: value('pgmajfault'),
    // One counter until kernel 5.9, two since.
    workingsetRefault: values.get('workingset_refault') ?? refaultAnon + refaultFile,
    workingsetActivate: values.get('workingset_activate') ?? activateAnon + activateFile,
    workingsetNodereclaim: value('workingset_nodereclaim'),
    pgrefill: value('pgrefill'),
    pgscan: value('pgscan'),
    pgsteal: value('pgsteal'),
    pgactivate: value('pgactivate'),
    pgdeactivate: value('pgdeactivate'),
    pglazyfree: value('pglazyfree'),
    pglazyfreed: value('pglazyfreed'),
    thpFaultAlloc: value('thp_fault_alloc'),
    thpCollapseAlloc: value('thp_collapse_alloc'),
    usage: file('memory.current'),
    usageLimit: file('memory.max'),
    swapUsage: file('memory.swap.current'),
    swapLimit: file('memory.swap.max'),
    maxUsage: file('memory.peak'),
    swapMaxUsage: file('memory.swap.peak'),
    psi: psi(directory, 'memory.pressure'),
    workingsetRefaultAnon: refaultAnon,
    workingsetRefaultFile: refaultFile,
    workingsetActivateAnon: activateAnon,
    workingsetActivateFile: activateFile,
  };
}

function memoryEvents(directory: string): MemoryEventsV2 {
  const values = parseKeyed(readGroupFile(directory, 'memory.events'));
  const value = (key: string): bigint => values.get(key) ?? 0n;
  return {
    low: value('low'),
    high: value('high'),
    max: value('max'),
    oom: value('oom'),
    oomKill: value('oom_kill'),
    oomGroupKill: value('oom_group_kill'),
  };
}

/** Lines `major:minor rbytes=N wbytes=N rios=N wios=N …`. */
export function parseIo(text: string): IoEntryV2[] {
  return text.split('\n').flatMap((line) => {
    const match = /^(\d+):(\d+) (.*)$/.exec(line);
    if (match === null) return [];
    const [, major = '0', minor = '0', rest = ''] = match;
    const values = new Map(rest.split(' ').map((word) => [word.slice(0, word.indexOf('=')), word] as const));
    const value = (key: string) => parseCounter(values.get(key)?.slice(key.length + 1));
    return {
      major: BigInt(major),
      minor: BigInt(minor),
      rbytes: value('rbytes'),
      wbytes: value('wbytes'),
      rios: value('rios'),
      wios: value('wios'),
    };
  });
}

function psi(directory: string, file: string): PsiStatsV2 | undefined {
  const text = readGroupFile(directory, file);
  return text === undefined ? undefined : parsePsi(text);
}

/** Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`. */
export function parsePsi(text: string): PsiStatsV2 {
  const line = (kind: string): PsiDataV2 | undefined => {
    const match = new RegExp(`^${kind} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)$`, 'm').exec(text);
    if (match === null) return undefined;
    const [, avg10, avg60, avg300, total = '0'] = match;
    return { avg10: Number(avg10), avg60: Number(avg60), avg300: Number(avg300), total: BigInt(total) };
  };
  return { some: line('some'), full: line('full') };
}

function hugetlb(directory: string): HugetlbStatV2[] {
  return childFiles(directory).flatMap((file) => {
    const pagesize = /^hugetlb\.([^.]+)\.current$/.exec(file)?.[1];
    if (pagesize === undefined) return [];
    return {
      current: parseCounter(readGroupFile(directory, file)),
      max: parseCounter(readGroupFile(directory, `hugetlb.${pagesize}.max`)),
      pagesize,
      failcnt: parseKeyed(readGroupFile(directory, `hugetlb.${pagesize}.events`)).get('max') ?? 0n,
    };
  });
}
