/** CPU time. Quota, period and burst are microseconds; 0 and absent mean unset. */
import { isErrno, linux } from '@gantry/libc';
import { toInt64, toUint64 } from '@gantry/oci';
import type { LinuxCpu } from '@gantry/oci';
import { limitError, readGroupFile, writeGroupFile, writeLimit } from './group-file.ts';
import type { GroupFileCalls } from './group-file.ts';

const field = (name: keyof LinuxCpu): string => `linux.resources.cpu.${name}`;

const unsigned = (value: number | undefined): bigint => (value === undefined ? 0n : toUint64(value));
const signed = (value: number | undefined): bigint => (value === undefined ? 0n : toInt64(value));

/**
 * Writes values of which the kernel checks each against the others as they are at that moment: one that is refused
 * with EINVAL is tried again after the others, once.
 */
function writeDependent(
  directory: string,
  writes: readonly (readonly [file: string, text: string, field: string])[],
  sys: GroupFileCalls,
): void {
  const refused: (readonly [string, string, string])[] = [];
  for (const write of writes) {
    const [file, text, name] = write;
    try {
      writeGroupFile(directory, file, text, sys);
    } catch (err) {
      if (!isErrno(err, 'EINVAL')) throw limitError(err, file, text, name);
      refused.push(write);
    }
  }
  for (const [file, text, name] of refused) writeLimit(directory, file, text, name, sys);
}

/** cpu.* of v1 (Documentation/scheduler/sched-bwc.rst, sched-rt-group.rst). */
export function writeCpuV1(directory: string, cpu: LinuxCpu, sys: GroupFileCalls = linux): void {
  const shares = unsigned(cpu.shares);
  // An idle group has no share to set; the kernel would refuse it.
  if (shares !== 0n && cpu.idle !== 1) writeLimit(directory, 'cpu.shares', String(shares), field('shares'), sys);
  const period = unsigned(cpu.period);
  const quota = signed(cpu.quota);
  const realtimePeriod = unsigned(cpu.realtimePeriod);
  const realtimeRuntime = signed(cpu.realtimeRuntime);
  writeDependent(
    directory,
    [
      ...(period === 0n ? [] : ([['cpu.cfs_period_us', String(period), field('period')]] as const)),
      ...(cpu.burst === undefined
        ? []
        : ([['cpu.cfs_burst_us', String(unsigned(cpu.burst)), field('burst')]] as const)),
      ...(quota === 0n ? [] : ([['cpu.cfs_quota_us', String(quota), field('quota')]] as const)),
    ],
    sys,
  );
  writeDependent(
    directory,
    [
      ...(realtimePeriod === 0n
        ? []
        : ([['cpu.rt_period_us', String(realtimePeriod), field('realtimePeriod')]] as const)),
      ...(realtimeRuntime === 0n
        ? []
        : ([['cpu.rt_runtime_us', String(realtimeRuntime), field('realtimeRuntime')]] as const)),
    ],
    sys,
  );
  if (cpu.idle !== undefined) writeLimit(directory, 'cpu.idle', String(cpu.idle), field('idle'), sys);
}

/** v1 shares (2 … 262144, default 1024) as v2 weight (1 … 10000, default 100): the curve goes through all three points. */
export function sharesToWeight(shares: number): number {
  if (shares === 0) return 0;
  if (shares <= 2) return 1;
  if (shares >= 262_144) return 10_000;
  const log = Math.log2(shares);
  return Math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34));
}

/** cpu.* of v2. The real-time fields have no files there. */
export function writeCpuV2(directory: string, cpu: LinuxCpu, sys: GroupFileCalls = linux): void {
  if (cpu.idle !== undefined) writeLimit(directory, 'cpu.idle', String(cpu.idle), field('idle'), sys);
  const weight = sharesToWeight(cpu.shares ?? 0);
  // An idle group has no weight to set; the kernel would refuse it.
  if (weight !== 0 && cpu.idle !== 1) writeLimit(directory, 'cpu.weight', String(weight), field('shares'), sys);
  const quota = signed(cpu.quota);
  const period = unsigned(cpu.period);
  writeDependent(
    directory,
    [
      ...(cpu.burst === undefined ? [] : ([['cpu.max.burst', String(unsigned(cpu.burst)), field('burst')]] as const)),
      ...(quota === 0n && period === 0n
        ? []
        : ([['cpu.max', maximum(directory, quota, period, sys), field(quota === 0n ? 'period' : 'quota')]] as const)),
    ],
    sys,
  );
}

/** `<quota|max> <period>`; the half that is unset stays as it is. */
function maximum(directory: string, quota: bigint, period: bigint, sys: GroupFileCalls): string {
  const current = quota === 0n || period === 0n ? readGroupFile(directory, 'cpu.max', sys) : undefined;
  const [currentQuota = 'max', currentPeriod = '100000'] = current?.trim().split(' ') ?? [];
  const newQuota = quota === 0n ? currentQuota : quota < 0n ? 'max' : String(quota);
  return `${newQuota} ${period === 0n ? currentPeriod : period}`;
}
