/** A control group's figures in the shape of runc's `events`: one for both versions of the kernel interface. */
import { readFileSync } from 'node:fs';
import type { BlkioEntryV1, CgroupStats, MemoryEntryV1, MetricsV1, MetricsV2, PsiStatsV2 } from '@gantry/cgroups';

const MAX_UINT64 = 2n ** 64n - 1n;
const NANOSECONDS = 1000n;

export function eventData(stats: CgroupStats, directories: Readonly<Record<string, string>>): object {
  return {
    ...(stats.kind === 'v1'
      ? fromV1(stats.metrics, directories['memory'])
      : fromV2(stats.metrics, directories['']?.concat('/memory.stat'))),
    cpuset: cpuset(directories['cpuset'] ?? directories['']),
    intel_rdt: {},
    network_interfaces: null,
  };
}

/** 0 is left out, as Go's omitempty does. */
function some(value: bigint | undefined): bigint | undefined {
  return value === 0n ? undefined : value;
}

function fromV1(metrics: MetricsV1, memoryDirectory: string | undefined): object {
  const { cpu, memory, pids, blkio, hugetlb } = metrics;
  const entries = (list: readonly BlkioEntryV1[] = []): object[] | undefined =>
    list.length === 0
      ? undefined
      : list.map(({ major, minor, op, value }) => ({
          major: some(major),
          minor: some(minor),
          op: op === '' ? undefined : op,
          value: some(value),
        }));
  return {
    cpu: {
      usage: {
        total: some(cpu?.usage.total),
        percpu: cpu?.usage.perCpu,
        kernel: cpu?.usage.kernel ?? 0n,
        user: cpu?.usage.user ?? 0n,
      },
      throttling: {
        periods: some(cpu?.throttling.periods),
        throttledPeriods: some(cpu?.throttling.throttledPeriods),
        throttledTime: some(cpu?.throttling.throttledTime),
      },
    },
    memory: {
      cache: some(memory?.cache),
      usage: memoryEntry(memory?.usage),
      swap: memoryEntry(memory?.swap),
      kernel: memoryEntry(memory?.kernel),
      kernelTCP: memoryEntry(memory?.kernelTcp),
      raw: keyedFile(memoryDirectory?.concat('/memory.stat')),
    },
    pids: { current: some(pids?.current), limit: some(pids?.limit) },
    blkio: {
      ioServiceBytesRecursive: entries(blkio?.ioServiceBytesRecursive),
      ioServicedRecursive: entries(blkio?.ioServicedRecursive),
      ioQueueRecursive: entries(blkio?.ioQueuedRecursive),
      ioServiceTimeRecursive: entries(blkio?.ioServiceTimeRecursive),
      ioWaitTimeRecursive: entries(blkio?.ioWaitTimeRecursive),
      ioMergedRecursive: entries(blkio?.ioMergedRecursive),
      ioTimeRecursive: entries(blkio?.ioTimeRecursive),
      sectorsRecursive: entries(blkio?.sectorsRecursive),
    },
    hugetlb: Object.fromEntries(
      hugetlb.map(({ pagesize, usage, max, failcnt }) => [pagesize, { usage: some(usage), max: some(max), failcnt }]),
    ),
  };
}

function memoryEntry(entry: MemoryEntryV1 | undefined): object {
  if (entry === undefined) return { limit: 0n, failcnt: 0n };
  return { limit: entry.limit, usage: some(entry.usage), max: some(entry.max), failcnt: entry.failcnt };
}

function fromV2(metrics: MetricsV2, memoryStat: string | undefined): object {
  const { cpu, memory, pids, io, hugetlb } = metrics;
  const operations = (pick: (entry: NonNullable<typeof io>['usage'][number]) => readonly [string, bigint][]) => {
    const list = (io?.usage ?? []).flatMap((entry) =>
      pick(entry).map(([op, value]) => ({
        major: some(entry.major),
        minor: some(entry.minor),
        op,
        value: some(value),
      })),
    );
    return list.length === 0 ? undefined : list;
  };
  return {
    cpu: {
      usage: {
        total: some((cpu?.usageUsec ?? 0n) * NANOSECONDS),
        kernel: (cpu?.systemUsec ?? 0n) * NANOSECONDS,
        user: (cpu?.userUsec ?? 0n) * NANOSECONDS,
      },
      throttling: {
        periods: some(cpu?.nrPeriods),
        throttledPeriods: some(cpu?.nrThrottled),
        throttledTime: some((cpu?.throttledUsec ?? 0n) * NANOSECONDS),
      },
      psi: pressure(cpu?.psi),
    },
    memory: {
      cache: some(memory?.file),
      usage: {
        limit: memory?.usageLimit ?? MAX_UINT64,
        usage: some(memory?.usage),
        max: some(memory?.maxUsage),
        failcnt: 0n,
      },
      swap: {
        limit: (memory?.usageLimit ?? 0n) + (memory?.swapLimit ?? 0n),
        usage: some((memory?.usage ?? 0n) + (memory?.swapUsage ?? 0n)),
        failcnt: 0n,
      },
      kernel: { limit: 0n, failcnt: 0n },
      kernelTCP: { limit: 0n, failcnt: 0n },
      raw: keyedFile(memoryStat),
      psi: pressure(memory?.psi),
    },
    pids: { current: some(pids?.current), limit: pids?.limit === MAX_UINT64 ? undefined : some(pids?.limit) },
    blkio: {
      ioServiceBytesRecursive: operations(({ rbytes, wbytes }) => [
        ['Read', rbytes],
        ['Write', wbytes],
      ]),
      ioServicedRecursive: operations(({ rios, wios }) => [
        ['Read', rios],
        ['Write', wios],
      ]),
      psi: pressure(io?.psi),
    },
    hugetlb: Object.fromEntries(
      hugetlb.map(({ pagesize, current, max, failcnt }) => [
        pagesize,
        { usage: some(current), max: some(max), failcnt },
      ]),
    ),
  };
}

function pressure(psi: PsiStatsV2 | undefined): object | undefined {
  return psi === undefined ? undefined : { some: psi.some, full: psi.full };
}

/** A file of `name value` lines; nothing when it is not there. */
function keyedFile(path: string | undefined): Record<string, bigint> | undefined {
  const text = path === undefined ? '' : readText(path);
  const entries = [...text.matchAll(/^(\S+) (\d+)$/gm)].map(([, name = '', value = '0']) => [name, BigInt(value)]);
  return entries.length === 0 ? undefined : (Object.fromEntries(entries) as Record<string, bigint>);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}

const v1CpusetFlags = [
  'cpu_exclusive',
  'mem_hardwall',
  'mem_exclusive',
  'memory_migrate',
  'memory_spread_page',
  'memory_spread_slab',
  'memory_pressure',
  'sched_load_balance',
  'sched_relax_domain_level',
] as const;

function cpuset(directory: string | undefined): object {
  const read = (name: string): string => (directory === undefined ? '' : readText(`${directory}/${name}`));
  const list = (...names: readonly string[]): number[] | undefined => {
    const text = names.map(read).find((one) => one !== '') ?? '';
    return text === '' ? undefined : expandList(text);
  };
  return {
    cpus: list('cpuset.effective_cpus', 'cpuset.cpus.effective', 'cpuset.cpus'),
    ...Object.fromEntries(v1CpusetFlags.slice(0, 1).map((name) => [name, Number(read(`cpuset.${name}`))])),
    mems: list('cpuset.effective_mems', 'cpuset.mems.effective', 'cpuset.mems'),
    ...Object.fromEntries(v1CpusetFlags.slice(1).map((name) => [name, Number(read(`cpuset.${name}`))])),
  };
}

/** `0-2,5` as the numbers it stands for. */
export function expandList(text: string): number[] {
  return text.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
